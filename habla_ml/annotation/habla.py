"""Corrections made in Habla: `corrected_ground_truth.json` of each session.

`reviewed` with `human_corrected` is a correction, `reviewed` without it a confirmation, and anything else is still
machine text, of which no event is made. Habla rewrites the whole file at every save; what it says again, in
whatever order, is no new event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import Final

from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.log import DayOfEvents, append_events, load_events
from habla_ml.errors import InputError
from habla_ml.lake import Lake
from habla_ml.recordings import (
    HABLA,
    SegmentHint,
    SessionFolder,
    SetAside,
    read_hints,
    scan_sessions,
    segment_id,
    to_utc,
)
from habla_ml.recordings.metadata import JsonEntry, read_entries, read_json_object
from habla_ml.recordings.sessions import CORRECTED, GROUND_TRUTH, segment_number
from habla_ml.settings import Settings

_ONLY_CORRECTIONS: Final = frozenset({CORRECTED})
_CLOCK_TOLERANCE: Final = timedelta(days=1)
_LONGEST_MODEL_CHARS: Final = 80


def corrected_sessions(folder: Path, settings: Settings, now: datetime) -> dict[str, dict[str, str]]:
    """Day → session → fingerprint of its corrections; opens no file.

    Days before `recordings.first_day` are left out: they have no partition.

    Raises:
        InputError: the recordings folder cannot be listed.
    """
    days: dict[str, dict[str, str]] = defaultdict(dict)
    for session in _corrected(scan_sessions(folder, settings, now).sessions):
        if session.day >= settings.recordings.first_day:
            days[session.day][session.name] = session.fingerprint(_ONLY_CORRECTIONS)
    return dict(days)


def gather_corrections(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayOfEvents:
    """Append the events of one day's corrected files to the log; reads only files that changed.

    A file that is no JSON, or an entry that makes no sense, is set aside with its reason; the events of the others
    are kept. Running it again on the same files does no work.

    Raises:
        InputError: the recordings folder cannot be listed.
        PointerMovedError: somebody else appended in the meantime; run again.
    """
    sessions = list(_corrected(scan_sessions(folder, settings, now, day).sessions))
    inputs = {each.name: each.fingerprint(_ONLY_CORRECTIONS) for each in sessions}
    known = load_events(lake, day)
    if known is not None and inputs.items() <= known.inputs.items():
        return known
    changed = [each for each in sessions if known is None or known.inputs.get(each.name) != inputs[each.name]]
    events: list[AnnotationEvent] = []
    problems: list[SetAside] = []
    for session in changed:
        events += _events(session, settings, now, problems)
    return append_events(lake, day, events, {each.name: inputs[each.name] for each in changed}, problems)


def _corrected(sessions: tuple[SessionFolder, ...]) -> Iterator[SessionFolder]:
    for session in sessions:
        if session.state != "live" and any(each.name == CORRECTED for each in session.files):
            yield session


def _events(
    session: SessionFolder, settings: Settings, now: datetime, problems: list[SetAside]
) -> list[AnnotationEvent]:
    try:
        body = read_json_object(session.path / CORRECTED)
    except InputError as error:
        problems.append(SetAside(session.name, CORRECTED, str(error)))
        return []
    header = JsonEntry(session.name, CORRECTED, body, problems)
    hints = read_hints(session, settings.zone)
    if hints.english or header.text("direction") == "en_to_es":
        problems.append(SetAside(session.name, CORRECTED, "is spoken in English (en_to_es): no corpus material"))
        return []
    saved_at, heard_by = _saved_at(session, header, settings, now), _recognisers(session)
    events: dict[str, AnnotationEvent] = {}
    for entry in read_entries(session.name, CORRECTED, body, problems):
        event = _event(session, entry, saved_at, hints.by_file, heard_by, problems)
        if event is None:
            continue
        if entry.file_name in events:
            what = f"names {entry.file_name} twice; the last entry counts"
            problems.append(SetAside(session.name, CORRECTED, what))
        events[entry.file_name] = event
    return list(events.values())


def _saved_at(session: SessionFolder, header: JsonEntry, settings: Settings, now: datetime) -> datetime:
    """When the corrections were saved, as Habla or else the file says; a time to come would win for ever."""
    saved_at = header.moment("corrected_at")
    if saved_at is not None and (moment := to_utc(saved_at, settings.zone)) <= now + _CLOCK_TOLERANCE:
        return moment
    modified_ns = next(each.modified_ns for each in session.files if each.name == CORRECTED)
    modified_at = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    if saved_at is not None:
        what = f"was saved at {saved_at.isoformat()}, a time to come; the file's own time is taken"
        header.problems.append(SetAside(session.name, CORRECTED, what))
    return modified_at


def _recognisers(session: SessionFolder) -> Mapping[str, str]:
    """File name → `habla:<model>`, for the segments whose text `ground_truth.json` brought."""
    if all(each.name != GROUND_TRUTH for each in session.files):
        return {}
    unused: list[SetAside] = []  # ingest reports what is wrong in this file
    try:
        body = read_json_object(session.path / GROUND_TRUTH)
    except InputError:
        return {}
    model = JsonEntry(session.name, GROUND_TRUTH, body, unused).text("whisper_model")
    if not model:
        return {}
    entries = read_entries(session.name, GROUND_TRUTH, body, unused)
    title = f"{HABLA}:{PurePath(model).name[:_LONGEST_MODEL_CHARS]}"
    return {entry.file_name: title for entry in entries if entry.text("transcript") is not None}


def _event(
    session: SessionFolder,
    entry: JsonEntry,
    saved_at: datetime,
    hints: Mapping[str, SegmentHint],
    heard_by: Mapping[str, str],
    problems: list[SetAside],
) -> AnnotationEvent | None:
    if not entry.flag("reviewed"):
        return None
    text = entry.text("transcript")
    if text is None or segment_number(entry.file_name) is None:
        what = "has no transcript" if text is None else "is no segment_<number>.wav"
        problems.append(SetAside(session.name, CORRECTED, f"reviewed entry {entry.file_name} {what}; left out"))
        return None
    seen_text = hints.get(entry.file_name, SegmentHint()).text
    return AnnotationEvent(
        segment_id=segment_id(HABLA, session.name, entry.file_name),
        session_id=session.name,
        day=session.day,
        text=text,
        status="corrected" if entry.flag("human_corrected") else "confirmed",
        reason="",
        person="",
        source=HABLA,
        created_at=saved_at,
        seen_text=seen_text,
        model_version="" if seen_text is None else heard_by.get(entry.file_name, HABLA),
    )
