"""Corrections made in Habla: `corrected_ground_truth.json` of each session.

`reviewed` with `human_corrected` is a correction, `reviewed` without it a confirmation, and anything else is still
machine text, of which no event is made. Habla rewrites the whole file at every save; what it says again, in
whatever order, is no new event.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import Final

from habla_ml.annotation.admitted import WordsAdmission, open_words
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.log import DayOfEvents, append_events, load_events
from habla_ml.consent.admission import Consents, call_for_late_consents, consents_of
from habla_ml.errors import InputError
from habla_ml.lake import Lake, catalogue
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
from habla_ml.recordings.sessions import (
    CORRECTED,
    GROUND_TRUTH,
    METADATA,
    SessionFile,
    fingerprint_files,
    list_folder,
    list_session,
    segment_number,
    session_day,
)
from habla_ml.settings import Settings

_CLOCK_TOLERANCE: Final = timedelta(days=1)
_LONGEST_MODEL_CHARS: Final = 80


def corrected_sessions(folder: Path, settings: Settings, now: datetime) -> dict[str, dict[str, str]]:
    """Day → session → fingerprint of its corrections; opens no file and, of what has its metadata.json, lists none.

    Costs a call of `stat` a session and another one where there are corrections. Days before `recordings.first_day`
    are left out: they have no partition.

    Raises:
        InputError: the recordings folder cannot be listed.
    """
    days: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in list_folder(folder):
        day = session_day(entry.name)
        if day is None or day < settings.recordings.first_day:
            continue
        if (fingerprint := _fingerprint_at(entry, settings, now)) is not None:
            days[day][entry.name] = fingerprint
    return dict(days)


def gather_corrections(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayOfEvents:
    """Append the events of one day's corrected files to the log; reads only files that changed.

    A file that is no JSON, or an entry that makes no sense, is set aside with its reason; the events of the others
    are kept, but for what is said of a segment whose contributor is still to consent: that waits, and its session
    is read again when the consent is there. Running it again on the same files does no work.

    Raises:
        InputError: the recordings folder cannot be listed, or the register of consents cannot be read.
        PointerMovedError: somebody else appended in the meantime; run again.
    """
    sessions = scan_sessions(folder, settings, now, day).sessions
    inputs = {each.name: made for each in sessions if (made := _fingerprint_of(each)) is not None}
    consents = consents_of(settings, now)
    known = load_gathered(lake, day, consents)
    if known is not None and inputs.items() <= known.inputs.items():
        return known
    seen = known.inputs if known else {}
    changed = [each for each in sessions if each.name in inputs and inputs[each.name] != seen.get(each.name)]
    events: list[AnnotationEvent] = []
    problems: list[SetAside] = []
    words = open_words(lake, consents)
    for session in changed:
        events += _events(session, settings, now, words, problems)
    read = {each.name: inputs[each.name] for each in changed}
    return append_events(lake, day, events, read, problems, words.admission.withheld, consents.note)


def load_gathered(lake: Lake, day: str, consents: Consents) -> DayOfEvents | None:
    """The log of a day, or None; sessions of which something that waited may come in now count as not read.

    Raises:
        InputError: something waits, and the register of consents cannot be read.
    """
    known = load_events(lake, day)
    if known is None:
        return None
    value = call_for_late_consents(lake, catalogue.ANNOTATIONS.name(day), known, consents)
    return known if value is None else DayOfEvents(day=day, **value)


def _fingerprint_at(entry: os.DirEntry[str], settings: Settings, now: datetime) -> str | None:
    """As `_fingerprint_of`, of the folder as it stands; None too where it cannot be looked into."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return None
        found = os.lstat(f"{entry.path}/{CORRECTED}")
        if not os.path.lexists(f"{entry.path}/{METADATA}"):
            # Only the times of all its files tell whether it crashed or is still being recorded.
            session = list_session(entry, settings, now)
            return None if session is None else _fingerprint_of(session)
    except (OSError, InputError):
        return None  # nobody corrected it, or `ingest_day` reports it
    correction = SessionFile(CORRECTED, found.st_size, found.st_mtime_ns, stat.S_ISREG(found.st_mode))
    return fingerprint_files(entry.name, "finished", [correction])


def _fingerprint_of(session: SessionFolder) -> str | None:
    """What the log notes of a session's corrections; None where there are none or it is still being recorded."""
    correction = next((each for each in session.files if each.name == CORRECTED), None)
    if correction is None or session.state == "live":
        return None
    state = "finished" if session.listed(METADATA) else session.state
    return fingerprint_files(session.name, state, [correction])


def _events(
    session: SessionFolder, settings: Settings, now: datetime, words: WordsAdmission, problems: list[SetAside]
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
        label = hints.by_file.get(entry.file_name, SegmentHint()).speaker
        if reason := words.refusal(session.day, session.name, event.segment_id, [label]):
            problems.append(
                SetAside(session.name, CORRECTED, f"what is said of {entry.file_name} waits: {reason}")
            )
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
