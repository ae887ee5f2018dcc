"""Corrections made in Habla: `corrected_ground_truth.json` of each session.

An entry with `reviewed` and `human_corrected` is a correction. `reviewed` alone is a confirmation. Every other entry
is machine text and gives no event. Habla rewrites the whole file at every save; repeated content gives no new event. A
save in which an entry is `reviewed: false` withdraws the earlier answer. A missing entry or file withdraws nothing: Habla
deletes its oldest sessions.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final

from habla_ml.annotation.consent_filter import AnnotationConsentFilter, open_consent_filter
from habla_ml.annotation.event_log import DayEventLog, append_events, load_events, read_valid_events
from habla_ml.annotation.events import AnnotationEvent, parse_event
from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext, SourceDay
from habla_ml.consent.admission import Consents, load_consents, requeue_newly_consented
from habla_ml.errors import InputError, IsolatedError, isolate
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings.day_range import is_day_inside
from habla_ml.recordings.days import has_habla_sessions
from habla_ml.recordings.metadata import (
    FolderSegment,
    JsonEntry,
    SegmentHint,
    SessionHints,
    read_entries,
    read_folder_segments,
    read_hints,
    read_json_object,
)
from habla_ml.recordings.problem_log import ProblemLog
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.recordings.sessions import (
    CORRECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    SessionFile,
    SessionFolder,
    Skipped,
    fingerprint_files,
    list_session,
    list_session_days,
    parse_segment_number,
    scan_sessions,
    to_utc,
)
from habla_ml.settings import Settings

_CLOCK_TOLERANCE: Final = timedelta(days=1)
_MAX_MODEL_NAME_CHARS: Final = 80
_MAX_KNOWN_CORRECTIONS: Final = 32_768


def find_changes(context: SourceContext) -> SourceChanges:
    """Return the days that have corrections in Habla's folder; opens no file there.

    A day whose log cannot be read, or whose corrections wait for a consent while the register cannot be read, is an
    error of that day. Raises `InputError` if the recordings folder cannot be listed.
    """
    settings, now = context.settings, context.now
    if settings.recordings.folder_problem:
        return SourceChanges((), settings.recordings.folder_problem)
    consents = load_consents(settings, now)
    days: list[SourceDay] = []
    errors: list[IsolatedError] = []
    sessions = find_corrected_sessions(settings.recordings.folder, settings, now)
    logs = catalogue.ANNOTATIONS.read(context.lake, sessions)
    for day, inputs in sessions.items():
        with isolate(day, errors):
            log = _requeue_newly_consented_sessions(context.lake, load_events(logs, day), consents)
            read = {name: log.inputs.get(name, "") for name in inputs} if log else {}
            days.append(SourceDay(day, "" if log and read == inputs else compute_digest([inputs, read])))
    return SourceChanges(tuple(days), errors=tuple(errors))


def find_corrected_sessions(folder: Path, settings: Settings, now: datetime) -> dict[str, dict[str, str]]:
    """Return day → session → fingerprint of its corrections.

    Opens no file, and lists only sessions without metadata.json. Costs one call of `stat` per session, and a second one
    where it has corrections. Days that cannot be ingested are left out. Raises `InputError` if the recordings folder
    cannot be listed.
    """
    corrected: dict[str, dict[str, str]] = {}
    for day, entries in list_session_days(folder).items():
        if is_day_inside(day, settings, now):
            for entry in entries:
                if (fingerprint := _fingerprint_corrections_in(entry, settings, now)) is not None:
                    corrected.setdefault(day, {})[entry.name] = fingerprint
    return corrected


def collect(context: SourceContext, day: str) -> None:
    """Append the events of one day's corrections to the log; reads only files that changed.

    A file that is not JSON, or an invalid entry, is skipped with its reason; the other events are kept. A correction of
    a segment whose contributor has not consented waits: its session is read again once the consent is there. Raises
    `InputError` if the recordings folder cannot be listed, or the register of consents cannot be read, or
    `PointerMovedError` if another process appended at the same time. Run again.
    """
    lake, settings, now = context.lake, context.settings, context.now
    if settings.recordings.folder_problem:
        return  # the sensor reports it, and requests the day again once the folder is there
    sessions = scan_sessions(settings.recordings.folder, settings, now, day).sessions
    inputs = {each.name: made for each in sessions if (made := _fingerprint_corrections(each)) is not None}
    consents = load_consents(settings, now)
    known = requeue_and_load_events(lake, day, consents)
    if known is not None and inputs.items() <= known.inputs.items():
        return
    read_before = known.inputs if known else {}
    changed = {name: made for name, made in inputs.items() if made != read_before.get(name)}
    consent_filter = open_consent_filter(lake, consents)
    events: list[AnnotationEvent] = []
    problems = ProblemLog()
    answers = _find_own_answers(lake, known, changed)
    for session in sessions:
        if session.name in changed:
            reader = _SessionReader(session, settings, now, consent_filter, problems)
            events += reader.read_events(answers.get(session.name, ()))
    withheld = consent_filter.admission.withheld
    append_events(lake, day, events, changed, problems.list_problems(), withheld, consents.signature)


def list_segments_in_folder(context: SourceContext) -> Iterable[FolderSegment]:
    """Return the segments in Habla's folder; none in a deployment that never had one, such as for an app.

    Raises `InputUnavailableError` while the folder of a deployment with sessions of Habla cannot be listed.
    """
    if context.settings.recordings.folder_problem and not has_habla_sessions(context.lake):
        return ()
    return read_folder_segments(context.settings.recordings.folder, context.settings, context.now)


def forget(context: SourceContext, segment_ids: Collection[str]) -> ForgetReport:
    """Name the sessions in Habla's folder that hold these segments; only Habla deletes them."""
    found = list_segments_in_folder(context)
    held = sorted({each.session_id for each in found if each.segment_id in segment_ids})
    if not held:
        return ForgetReport()
    what = f"delete {len(held)} sessions in Habla that hold the voice; the first is {held[0]}"
    return ForgetReport(left_to_person=(what,))


def requeue_and_load_events(lake: Lake, day: str, consents: Consents) -> DayEventLog | None:
    """Return the log of a day, or None. Sessions with newly consented corrections count as unread.

    Raises `InputError` if corrections wait for a consent, and the register of consents cannot be read.
    """
    return _requeue_newly_consented_sessions(lake, load_events(lake, day), consents)


def _requeue_newly_consented_sessions(lake: Lake, known: DayEventLog | None, consents: Consents) -> DayEventLog | None:
    if known is None:
        return None
    value = requeue_newly_consented(lake, catalogue.ANNOTATIONS.name(known.day), known, consents)
    return known if value is None else DayEventLog(day=known.day, **value)


def _fingerprint_corrections_in(entry: os.DirEntry[str], settings: Settings, now: datetime) -> str | None:
    """Return what `_fingerprint_corrections` returns for this folder; None too where the folder cannot be read."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return None
        found = os.lstat(f"{entry.path}/{CORRECTIONS_FILE}")
        if not os.access(f"{entry.path}/{METADATA_FILE}", os.F_OK):
            # Only the times of all its files tell a crashed session from one that is being recorded.
            session = list_session(entry, settings, now)
            return None if session is None else _fingerprint_corrections(session)
    except (OSError, InputError):
        return None  # no corrections, or `ingest_day` reports the fault
    return _fingerprint_correction(entry.name, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=_MAX_KNOWN_CORRECTIONS)  # every tick asks for the same ones
def _fingerprint_correction(session: str, size_bytes: int, modified_ns: int) -> str:
    return fingerprint_files(session, "finished", [SessionFile(CORRECTIONS_FILE, size_bytes, modified_ns)])


def _fingerprint_corrections(session: SessionFolder) -> str | None:
    """Return what the log notes of a session's corrections; None where it has none or is still being recorded."""
    correction = next((each for each in session.files if each.name == CORRECTIONS_FILE), None)
    if correction is None or session.state == "live":
        return None
    state = "finished" if session.has_file(METADATA_FILE) else session.state
    return fingerprint_files(session.name, state, [correction])


def _find_own_answers(
    lake: Lake, log: DayEventLog | None, sessions: Collection[str]
) -> Mapping[str, Sequence[AnnotationEvent]]:
    """Return session → its valid answers of this source, sorted by time within a segment."""
    found: dict[str, list[AnnotationEvent]] = defaultdict(list)
    for event in map(parse_event, read_valid_events(lake, log.parquet).to_pylist() if log and sessions else ()):
        if event.source == HABLA_SOURCE and event.session_id in sessions:
            found[event.session_id].append(event)
    return found


@dataclass(frozen=True)
class _SessionReader:
    """Reads the corrections of one session."""

    session: SessionFolder
    settings: Settings
    now: datetime
    consent_filter: AnnotationConsentFilter
    problems: ProblemLog

    def read_events(self, answers: Sequence[AnnotationEvent]) -> list[AnnotationEvent]:
        """Return the events, with withdrawals of those `answers` that this save has as not reviewed.

        Of two entries for one segment the last counts.
        """
        session = self.session
        try:
            body = read_json_object(session.path / CORRECTIONS_FILE)
        except InputError as error:
            self._skip(str(error))
            return []
        header = JsonEntry(session.name, CORRECTIONS_FILE, body, self.problems)
        hints = read_hints(session, self.settings.zone)
        if hints.is_english or header.get_text("direction") == "en_to_es":
            self._skip("is spoken in English (en_to_es), which is no corpus material")
            return []
        saved_at, recognisers = self._resolve_save_time(header), _read_recognisers(session)
        events: dict[str, AnnotationEvent] = {}
        is_withdrawn: dict[str, bool] = {}
        for entry in read_entries(session.name, CORRECTIONS_FILE, body, self.problems):
            if entry.file_name in is_withdrawn:
                self._skip(f"names {entry.file_name} twice; the last entry counts")
            is_withdrawn[entry.file_name] = entry.body.get("reviewed") is False
            events.pop(entry.file_name, None)
            event = self._build_event(entry, saved_at, hints, recognisers)
            if event is None:
                continue
            label = hints.by_file.get(entry.file_name, SegmentHint()).speaker
            reason = self.consent_filter.explain_refusal(session.day, session.name, event.segment_id, [label])
            if reason:
                self._skip(f"the correction of {entry.file_name} waits: {reason}")
                continue
            events[entry.file_name] = event
        withdrawn = {segment_id(HABLA_SOURCE, session.name, name) for name, each in is_withdrawn.items() if each}
        return [*events.values(), *_withdraw_answers([e for e in answers if e.segment_id in withdrawn], saved_at)]

    def _resolve_save_time(self, header: JsonEntry) -> datetime:
        """Return when the corrections were saved. A future time would override later corrections: use the file's own."""
        saved_at = header.get_time("corrected_at")
        zone = self.settings.zone
        if saved_at is not None and (moment := to_utc(saved_at, zone)) <= self.now + _CLOCK_TOLERANCE:
            return moment
        if saved_at is not None:
            self._skip(f"was saved at {saved_at.isoformat()}, in the future; the file's own time is used")
        modified_ns = next(each.modified_ns for each in self.session.files if each.name == CORRECTIONS_FILE)
        return datetime.fromtimestamp(modified_ns / 1e9, UTC)

    def _build_event(
        self, entry: JsonEntry, saved_at: datetime, hints: SessionHints, recognisers: Mapping[str, str]
    ) -> AnnotationEvent | None:
        if not entry.get_flag("reviewed"):
            return None
        text = entry.get_text("transcript")
        if text is None or parse_segment_number(entry.file_name) is None:
            what = "has no transcript" if text is None else "is no segment_<number>.wav"
            self._skip(f"reviewed entry {entry.file_name} {what}; left out")
            return None
        seen_text = hints.by_file.get(entry.file_name, SegmentHint()).text
        return AnnotationEvent(
            segment_id=segment_id(HABLA_SOURCE, self.session.name, entry.file_name),
            session_id=self.session.name,
            day=self.session.day,
            text=text,
            status="corrected" if entry.get_flag("human_corrected") else "confirmed",
            reason="",
            person="",
            source=HABLA_SOURCE,
            created_at=saved_at,
            seen_text=seen_text,
            model_version="" if seen_text is None else recognisers.get(entry.file_name, HABLA_SOURCE),
            is_blind=False,  # Habla's page shows its transcript
        )

    def _skip(self, reason: str) -> None:
        self.problems.append(Skipped(self.session.name, CORRECTIONS_FILE, reason))


def _withdraw_answers(answers: Iterable[AnnotationEvent], saved_at: datetime) -> Iterator[AnnotationEvent]:
    """Yield a withdrawal of each segment's answer, given in the order of time; an answer after `saved_at` stays."""
    for event in {each.segment_id: each for each in answers if each.created_at <= saved_at}.values():
        # A file edited by hand can have the time of its last save.
        moment = max(saved_at, event.created_at + timedelta(microseconds=1))
        yield replace(event, text="", status="withdrawn", seen_text=None, model_version="", created_at=moment)


def _read_recognisers(session: SessionFolder) -> Mapping[str, str]:
    """Return file name → `habla:<model>` for the segments that `ground_truth.json` has a text of."""
    if not session.has_file(GROUND_TRUTH_FILE):
        return {}
    unused = ProblemLog()  # ingest reports the faults of this file
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


SOURCE: Final = AnnotationSource(HABLA_SOURCE, "new_corrections", find_changes, collect, forget)
