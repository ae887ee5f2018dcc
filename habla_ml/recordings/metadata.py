"""Read Habla's JSON about a session's segments as hints, and report what is wrong in it.

`metadata.json` has the recogniser's output during the session, `ground_truth.json` the later output of a larger model.
Hints are keyed by file name, because Habla's own counter can differ from it. Machine text is never a reference, and a
fault in these files never keeps a segment's audio out of the lake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from habla_ml.errors import InputError
from habla_ml.json_input import parse_json
from habla_ml.recordings.problem_log import ProblemLog
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.recordings.sessions import (
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    SessionFolder,
    Skipped,
    canonical_segment_name,
    parse_segment_number,
    read_plain_file,
    scan_sessions,
    to_utc,
)
from habla_ml.settings import Settings

MAX_JSON_BYTES: Final = 32 << 20
"""Bytes of one JSON file of Habla: 20,000 segments have at most 16 MB."""
MAX_SESSION_SEGMENTS: Final = 20_000
"""Entries of one JSON file of Habla. Segments of 2 to 4 s give at most 14,400 in a session of 8 hours."""
_LARGEST_NUMBER: Final = 1e300
_LEAST_LOG_PROBABILITY: Final = -100.0
_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2100


AsrStatus = Literal["accepted", "rejected"]
_INAUDIBLE: Final = "[inaudible]"
"""Habla's transcript of a segment in which its larger model found no text."""


@dataclass(frozen=True)
class SegmentHint:
    """Machine output for one segment; every field can be missing."""

    recorded_at: datetime | None = None
    """UTC."""
    speaker: str | None = None
    """A label that is local to its session."""
    text: str | None = None
    confidence: float | None = None
    """0…1; the exponential of the average log-probability in `ground_truth.json` where that was measured, otherwise the
    value of `metadata.json`."""
    asr_status: AsrStatus | None = None
    """Whether Habla's recogniser returned a text during the session; None where its files do not show it."""


@dataclass(frozen=True)
class SessionHints:
    """The hints of one session by file name, and the faults of its JSON files."""

    by_file: Mapping[str, SegmentHint]
    direction: str | None
    problems: tuple[Skipped, ...]

    @property
    def is_english(self) -> bool:
        """Whether the session is in English, for translation into Spanish: no corpus material."""
        return self.direction == "en_to_es"


@dataclass(frozen=True)
class FolderSegment:
    """A segment in Habla's folder; its audio may be deleted already."""

    segment_id: str
    session_id: str
    speaker: str | None


def read_hints(session: SessionFolder, zone: ZoneInfo) -> SessionHints:
    """Read `metadata.json` and `ground_truth.json`; a fault becomes a problem, never an error."""
    problems = ProblemLog()
    hints: dict[str, SegmentHint] = {}
    directions: list[str] = []
    latest = to_utc(session.started_local, zone)
    present = {each.segment_name for each in session.files}
    if METADATA_FILE not in present:
        problems.append(
            Skipped(session.name, METADATA_FILE, "is missing because the session crashed; segments are read without it")
        )
    for name in (METADATA_FILE, GROUND_TRUTH_FILE):
        if name not in present:
            continue
        try:
            body = read_json_object(session.path / name)
        except InputError as error:
            problems.append(Skipped(session.name, name, str(error)))
            continue
        reader = JsonEntry(session.name, name, body, problems)
        direction = reader.get_text("direction")
        if direction:
            directions.append(direction)
        for entry in read_entries(session.name, name, body, problems):
            before = hints.get(entry.file_name, SegmentHint())
            if name == GROUND_TRUTH_FILE:
                hints[entry.file_name] = _make_ground_truth_hint(entry, before)
                continue
            hint = hints[entry.file_name] = _make_recorder_hint(entry, before, zone, latest)
            latest = max(latest, hint.recorded_at or latest)
        if name == METADATA_FILE:
            hints = _resolve_asr_status(hints)
    for name in sorted(hints.keys() - present):
        problems.append(Skipped(session.name, name, "is named in Habla's JSON, but the file does not exist"))
    hints = {name: _clear_disproved_rejection(each) for name, each in hints.items()}
    return SessionHints(hints, directions[-1] if directions else None, problems.list_problems())


def read_folder_segments(
    folder: Path, settings: Settings, now: datetime, day: str | None = None
) -> Iterator[FolderSegment]:
    """Yield the segments in Habla's folder (or only of `day`) from the sessions' JSON, with the errors of a scan."""
    for session in scan_sessions(folder, settings, now, day).sessions:
        hints = read_hints(session, settings.zone).by_file
        named = {name for name in hints if parse_segment_number(name) is not None}
        for name in sorted({each.segment_name for each in session.segments} | named):
            identity = segment_id(HABLA_SOURCE, session.name, name)
            yield FolderSegment(identity, session.name, hints.get(name, SegmentHint()).speaker)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise `InputError` if it cannot be read, is not JSON, is too large, or has another type."""
    body = parse_json(read_plain_file(path, MAX_JSON_BYTES))
    if not isinstance(body, dict):
        raise InputError(f"contains {type(body).__name__}, expected an object")
    return body


@dataclass(frozen=True)
class JsonEntry:
    """One JSON object of a file; values of a wrong type become problems and count as missing."""

    session: str
    file: str
    body: Mapping[str, Any]
    problems: ProblemLog

    @property
    def file_name(self) -> str:
        """The name that identifies the segment."""
        return canonical_segment_name(str(self.body.get("filename")))

    def get_text(self, key: str) -> str | None:
        """Return the string under `key`, or None."""
        value = self._get_typed(key, str)
        try:
            return None if value is None else str(value.encode("utf-8"), "utf-8")
        except UnicodeEncodeError:
            self._report_problem(key, "is not valid Unicode")
            return None

    def get_number(self, key: str, least: float = -_LARGEST_NUMBER, most: float = _LARGEST_NUMBER) -> float | None:
        """Return the finite number under `key`, `least` to `most`, or None."""
        value = self._get_typed(key, int, float)
        if value is None:
            return None
        if isinstance(value, bool) or not -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER:
            self._report_problem(key, "is not a finite number")
            return None
        if not least <= value <= most:
            self._report_problem(key, f"is {value:g}, expected a number of {least:g} to {most:g}")
            return None
        return float(value)

    def get_flag(self, key: str) -> bool:
        """Return the boolean under `key`, or False."""
        return bool(self._get_typed(key, bool))

    def get_time(self, key: str) -> datetime | None:
        """Return the ISO 8601 time under `key`, naive or aware, or None."""
        value = self.get_text(key)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self._report_problem(key, "is text, expected a time like 2026-02-16T14:30:22")
            return None
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            self._report_problem(key, f"is in the year {moment.year}, expected {_FIRST_YEAR}…{_LAST_YEAR}")
            return None
        return moment

    def _get_typed(self, key: str, *kinds: type) -> Any:
        value = self.body.get(key)
        if value is None or isinstance(value, kinds):
            return value
        self._report_problem(key, f"is {type(value).__name__}, expected {kinds[-1].__name__}")
        return None

    def _report_problem(self, key: str, problem: str) -> None:
        owner = f" of {self.file_name}" if "filename" in self.body else ""
        self.problems.append(Skipped(self.session, self.file, f"key {key}{owner} {problem}; treated as missing"))


def read_entries(session: str, file: str, body: Mapping[str, Any], problems: ProblemLog) -> Iterator[JsonEntry]:
    """Yield the entries of `segments` that name a file; add the others to `problems`."""
    segments = body.get("segments")
    if not isinstance(segments, list):
        problems.append(Skipped(session, file, f"key segments is {type(segments).__name__}, expected a list"))
        return
    if len(segments) > MAX_SESSION_SEGMENTS:
        reason = f"has {len(segments):,} segments, more than the {MAX_SESSION_SEGMENTS:,} allowed; none of them is used"
        problems.append(Skipped(session, file, reason))
        return
    for index, entry in enumerate(segments):
        name = entry.get("filename") if isinstance(entry, dict) else None
        if isinstance(name, str) and name.isprintable():
            yield JsonEntry(session, file, entry, problems)
        else:
            problems.append(Skipped(session, file, f"entry {index + 1} of segments names no file; skipped"))


def _make_recorder_hint(entry: JsonEntry, before: SegmentHint, zone: ZoneInfo, after: datetime) -> SegmentHint:
    recorded_at = entry.get_time("recorded_at")
    return replace(
        before,
        recorded_at=None if recorded_at is None else to_utc(recorded_at, zone, after),
        speaker=entry.get_text("speaker"),
        text=entry.get_text("raw_transcript"),
        confidence=entry.get_number("confidence", 0, 1),
        asr_status="rejected" if entry.get_text("asr_status") == "rejected" else None,
    )


def _resolve_asr_status(hints: Mapping[str, SegmentHint]) -> dict[str, SegmentHint]:
    """Return the hints of `metadata.json` with the status that each entry proves.

    Habla writes a text or `rejected` for each segment. Some versions write `rejected` for every segment, also for those
    that they transcribed, so it is evidence only in a session that has a text.
    """
    if not any(each.text for each in hints.values()):
        return {name: replace(each, asr_status=None) for name, each in hints.items()}
    return {
        name: replace(each, asr_status="accepted" if each.text else each.asr_status) for name, each in hints.items()
    }


def _clear_disproved_rejection(hint: SegmentHint) -> SegmentHint:
    """Return the hint without a rejection that a later text contradicts."""
    is_disproved = hint.asr_status == "rejected" and hint.text not in (None, "", _INAUDIBLE)
    return replace(hint, asr_status=None) if is_disproved else hint


def _make_ground_truth_hint(entry: JsonEntry, before: SegmentHint) -> SegmentHint:
    text = entry.get_text("transcript")
    if text is None:
        return before
    log_probability = entry.get_number("confidence", _LEAST_LOG_PROBABILITY, 0)
    # Habla writes 0, which would be certainty, where WhisperX gives no probability.
    confidence = round(math.exp(log_probability), 6) if log_probability else before.confidence
    return replace(before, text=text, confidence=confidence)
