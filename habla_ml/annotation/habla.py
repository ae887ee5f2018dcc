"""Corrections made in Habla: `corrected_ground_truth.json` of each session.

`reviewed` with `human_corrected` is a correction, `reviewed` without it a confirmation, and anything else is still
machine text, of which no event is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
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
from habla_ml.recordings.sessions import CORRECTED, segment_number
from habla_ml.settings import Settings

_ONLY_CORRECTIONS: Final = frozenset({CORRECTED})


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
        events += _events(session, settings, problems)
    return append_events(lake, day, events, {each.name: inputs[each.name] for each in changed}, problems)


def _corrected(sessions: tuple[SessionFolder, ...]) -> Iterator[SessionFolder]:
    for session in sessions:
        if session.state != "live" and any(each.name == CORRECTED for each in session.files):
            yield session


def _events(session: SessionFolder, settings: Settings, problems: list[SetAside]) -> list[AnnotationEvent]:
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
    saved_at = header.moment("corrected_at")
    if saved_at is None:
        modified_ns = next(each.modified_ns for each in session.files if each.name == CORRECTED)
        saved_at = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    events = []
    for entry in read_entries(session.name, CORRECTED, body, problems):
        event = _event(session, entry, to_utc(saved_at, settings.zone), hints.by_file, problems)
        if event is not None:
            events.append(event)
    return events


def _event(
    session: SessionFolder,
    entry: JsonEntry,
    saved_at: datetime,
    hints: Mapping[str, SegmentHint],
    problems: list[SetAside],
) -> AnnotationEvent | None:
    if not entry.flag("reviewed"):
        return None
    text = entry.text("transcript")
    if text is None or segment_number(entry.file_name) is None:
        what = "has no transcript" if text is None else "is no segment_<number>.wav"
        problems.append(SetAside(session.name, CORRECTED, f"reviewed entry {entry.file_name} {what}; left out"))
        return None
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
        seen_text=hints.get(entry.file_name, SegmentHint()).text,
    )
