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

from habla_ml.annotation.consent_filter import AnnotationConsentFilter, open_consent_filter
from habla_ml.annotation.event_log import DayEventLog, append_events, load_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.consent.admission import Consents, load_consents, requeue_newly_consented
from habla_ml.errors import InputError
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import (
    HABLA_SOURCE,
    SegmentHint,
    SessionFolder,
    Skipped,
    read_hints,
    scan_sessions,
    segment_id,
    to_utc,
)
from habla_ml.recordings.metadata import JsonEntry, read_entries, read_json_object
from habla_ml.recordings.sessions import (
    CORRECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    SessionFile,
    fingerprint_files,
    list_folder,
    list_session,
    parse_segment_number,
    parse_session_day,
)
from habla_ml.settings import Settings

_CLOCK_TOLERANCE: Final = timedelta(days=1)
_MAX_MODEL_NAME_CHARS: Final = 80


def find_corrected_sessions(folder: Path, settings: Settings, now: datetime) -> dict[str, dict[str, str]]:
    """Day → session → fingerprint of its corrections; opens no file and, of what has its metadata.json, lists none.

    Costs a call of `stat` a session and another one where there are corrections. Days before `recordings.first_day`
    are left out: they have no partition.

    Raises:
        InputError: the recordings folder cannot be listed.
    """
    days: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in list_folder(folder):
        day = parse_session_day(entry.name)
        if day is None or day < settings.recordings.first_day:
            continue
        if (fingerprint := _fingerprint_corrections_in(entry, settings, now)) is not None:
            days[day][entry.name] = fingerprint
    return dict(days)


def gather_corrections(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayEventLog:
    """Append the events of one day's corrected files to the log; reads only files that changed.

    A file that is no JSON, or an entry that makes no sense, is set aside with its reason; the events of the others
    are kept, but for what is said of a segment whose contributor is still to consent: that waits, and its session
    is read again when the consent is there. Running it again on the same files does no work.

    Raises:
        InputError: the recordings folder cannot be listed, or the register of consents cannot be read.
        PointerMovedError: somebody else appended in the meantime; run again.
    """
    sessions = scan_sessions(folder, settings, now, day).sessions
    inputs = {each.name: made for each in sessions if (made := _fingerprint_corrections(each)) is not None}
    consents = load_consents(settings, now)
    known = requeue_and_load_events(lake, day, consents)
    if known is not None and inputs.items() <= known.inputs.items():
        return known
    seen = known.inputs if known else {}
    changed = [each for each in sessions if each.name in inputs and inputs[each.name] != seen.get(each.name)]
    events: list[AnnotationEvent] = []
    problems: list[Skipped] = []
    words = open_consent_filter(lake, consents)
    for session in changed:
        events += _read_session_events(session, settings, now, words, problems)
    read = {each.name: inputs[each.name] for each in changed}
    return append_events(lake, day, events, read, problems, words.admission.withheld, consents.signature)


def requeue_and_load_events(lake: Lake, day: str, consents: Consents) -> DayEventLog | None:
    """The log of a day, or None; sessions of which something that waited may come in now count as not read.

    Raises:
        InputError: something waits, and the register of consents cannot be read.
    """
    known = load_events(lake, day)
    if known is None:
        return None
    value = requeue_newly_consented(lake, catalogue.ANNOTATIONS.name(day), known, consents)
    return known if value is None else DayEventLog(day=day, **value)


def _fingerprint_corrections_in(entry: os.DirEntry[str], settings: Settings, now: datetime) -> str | None:
    """As `_fingerprint_corrections`, of the folder as it stands; None too where it cannot be looked into."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return None
        found = os.lstat(f"{entry.path}/{CORRECTIONS_FILE}")
        if not os.path.lexists(f"{entry.path}/{METADATA_FILE}"):
            # Only the times of all its files tell whether it crashed or is still being recorded.
            session = list_session(entry, settings, now)
            return None if session is None else _fingerprint_corrections(session)
    except (OSError, InputError):
        return None  # nobody corrected it, or `ingest_day` reports it
    correction = SessionFile(CORRECTIONS_FILE, found.st_size, found.st_mtime_ns, stat.S_ISREG(found.st_mode))
    return fingerprint_files(entry.name, "finished", [correction])


def _fingerprint_corrections(session: SessionFolder) -> str | None:
    """What the log notes of a session's corrections; None where there are none or it is still being recorded."""
    correction = next((each for each in session.files if each.name == CORRECTIONS_FILE), None)
    if correction is None or session.state == "live":
        return None
    state = "finished" if session.has_file(METADATA_FILE) else session.state
    return fingerprint_files(session.name, state, [correction])


def _read_session_events(
    session: SessionFolder,
    settings: Settings,
    now: datetime,
    words: AnnotationConsentFilter,
    problems: list[Skipped],
) -> list[AnnotationEvent]:
    try:
        body = read_json_object(session.path / CORRECTIONS_FILE)
    except InputError as error:
        problems.append(Skipped(session.name, CORRECTIONS_FILE, str(error)))
        return []
    header = JsonEntry(session.name, CORRECTIONS_FILE, body, problems)
    hints = read_hints(session, settings.zone)
    if hints.is_english or header.get_text("direction") == "en_to_es":
        problems.append(
            Skipped(session.name, CORRECTIONS_FILE, "is spoken in English (en_to_es): no corpus material")
        )
        return []
    saved_at, recogniser_by_file = _resolve_save_time(session, header, settings, now), _read_recognisers(session)
    events: dict[str, AnnotationEvent] = {}
    for entry in read_entries(session.name, CORRECTIONS_FILE, body, problems):
        event = _build_habla_event(session, entry, saved_at, hints.by_file, recogniser_by_file, problems)
        if event is None:
            continue
        label = hints.by_file.get(entry.file_name, SegmentHint()).speaker
        if reason := words.explain_refusal(session.day, session.name, event.segment_id, [label]):
            problems.append(
                Skipped(session.name, CORRECTIONS_FILE, f"what is said of {entry.file_name} waits: {reason}")
            )
            continue
        if entry.file_name in events:
            what = f"names {entry.file_name} twice; the last entry counts"
            problems.append(Skipped(session.name, CORRECTIONS_FILE, what))
        events[entry.file_name] = event
    return list(events.values())


def _resolve_save_time(session: SessionFolder, header: JsonEntry, settings: Settings, now: datetime) -> datetime:
    """When the corrections were saved, as Habla or else the file says; a time to come would win for ever."""
    saved_at = header.get_time("corrected_at")
    if saved_at is not None and (moment := to_utc(saved_at, settings.zone)) <= now + _CLOCK_TOLERANCE:
        return moment
    modified_ns = next(each.modified_ns for each in session.files if each.name == CORRECTIONS_FILE)
    modified_at = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    if saved_at is not None:
        what = f"was saved at {saved_at.isoformat()}, a time to come; the file's own time is taken"
        header.problems.append(Skipped(session.name, CORRECTIONS_FILE, what))
    return modified_at


def _read_recognisers(session: SessionFolder) -> Mapping[str, str]:
    """File name → `habla:<model>`, for the segments whose text `ground_truth.json` brought."""
    if all(each.name != GROUND_TRUTH_FILE for each in session.files):
        return {}
    unused: list[Skipped] = []  # ingest reports what is wrong in this file
    try:
        body = read_json_object(session.path / GROUND_TRUTH_FILE)
    except InputError:
        return {}
    model = JsonEntry(session.name, GROUND_TRUTH_FILE, body, unused).get_text("whisper_model")
    if not model:
        return {}
    entries = read_entries(session.name, GROUND_TRUTH_FILE, body, unused)
    title = f"{HABLA_SOURCE}:{PurePath(model).name[:_MAX_MODEL_NAME_CHARS]}"
    return {entry.file_name: title for entry in entries if entry.get_text("transcript") is not None}


def _build_habla_event(
    session: SessionFolder,
    entry: JsonEntry,
    saved_at: datetime,
    hints: Mapping[str, SegmentHint],
    recogniser_by_file: Mapping[str, str],
    problems: list[Skipped],
) -> AnnotationEvent | None:
    if not entry.get_flag("reviewed"):
        return None
    text = entry.get_text("transcript")
    if text is None or parse_segment_number(entry.file_name) is None:
        what = "has no transcript" if text is None else "is no segment_<number>.wav"
        problems.append(
            Skipped(session.name, CORRECTIONS_FILE, f"reviewed entry {entry.file_name} {what}; left out")
        )
        return None
    seen_text = hints.get(entry.file_name, SegmentHint()).text
    return AnnotationEvent(
        segment_id=segment_id(HABLA_SOURCE, session.name, entry.file_name),
        session_id=session.name,
        day=session.day,
        text=text,
        status="corrected" if entry.get_flag("human_corrected") else "confirmed",
        reason="",
        person="",
        source=HABLA_SOURCE,
        created_at=saved_at,
        seen_text=seen_text,
        model_version="" if seen_text is None else recogniser_by_file.get(entry.file_name, HABLA_SOURCE),
    )
