"""Tables of transcripts: `fine_tune_dataset.csv` and `fine_tune_dataset.json`.

Required columns are `audio_path,transcript` in CSV; JSON is a list of objects with `audio,text`. `speaker` is optional;
`duration` and `notes` are ignored.

Further optional columns: `status` (corrected, confirmed or unusable; default corrected), `reason` (why it is unusable),
`person`, `annotated_at` (ISO 8601) and `model_version` (of the text that the person saw). A row with an invalid value
is skipped as a whole, with its number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast, get_args

from habla_ml.annotation.events import AnswerStatus
from habla_ml.audio import AudioDecoder
from habla_ml.errors import InputError
from habla_ml.recordings.day_reader import SegmentOrigin, read_segment
from habla_ml.recordings.metadata import SegmentHint
from habla_ml.recordings.segments import RecordedSegment, segment_id
from habla_ml.recordings.sessions import Skipped, parse_session_start, read_plain_file

TABLE: Final = "table"
"""Source of a clip that a table brought."""

_MAX_TABLE_BYTES: Final = 512 << 20
_COLUMNS: Final = {".csv": ("audio_path", "transcript"), ".json": ("audio", "text")}
_OPTIONAL_COLUMNS: Final = ("speaker", "status", "reason", "person", "annotated_at", "model_version")
_IGNORED_COLUMNS: Final = ("duration", "notes")
_AUDIO_SUFFIXES: Final = frozenset(
    {".aac", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".wave", ".webm"}
)
_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2100


@dataclass(frozen=True)
class TableRow:
    """One row of a table."""

    number: int
    """Counted from 1, without the header."""
    audio: str
    """The path as written."""
    text: str
    """As typed; can be empty where the segment is unusable."""
    speaker: str | None
    status: AnswerStatus = "corrected"
    reason: str = ""
    person: str = ""
    annotated_at: datetime | None = None
    """Naive or aware, as written."""
    model_version: str = ""

    @property
    def label(self) -> str:
        """The row's name in reports: its number, and its file where the cell is a file name rather than a text."""
        is_file_name = PurePosixPath(self.audio).suffix.lower() in _AUDIO_SUFFIXES
        return f"row {self.number}: {self.audio[:120]}" if is_file_name else f"row {self.number}"


@dataclass(frozen=True)
class TableClip:
    """A row with its audio."""

    row: TableRow
    segment: RecordedSegment


def find_table_file(path: Path) -> Path:
    """Return the table file of a path or a folder; raise `InputError` if there is none of a known name or kind."""
    if path.is_dir():
        for name in ("fine_tune_dataset.csv", "fine_tune_dataset.json"):
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path} holds neither fine_tune_dataset.csv nor fine_tune_dataset.json")
    if path.suffix not in _COLUMNS:
        raise InputError(f"{path} is no table: expected a name that ends in {' or '.join(_COLUMNS)}")
    return path


def table_name(path: Path) -> str:
    """Return the name of a table in reports, events and sessions: its folder and its own name."""
    return f"{path.resolve().parent.name}-{path.stem}"


def read_table(path: Path, remarks: list[Skipped] | None = None) -> tuple[list[TableRow], list[Skipped]]:
    """Return the rows of a table, and the invalid rows with number and reason.

    `remarks` receives each unknown column, once, at the first row that has it. Raises `InputError` if the file cannot
    be read, is not of its kind, or lacks a required column.
    """
    columns = (*_COLUMNS[path.suffix], *_OPTIONAL_COLUMNS, *_IGNORED_COLUMNS)
    seen, name = set(columns), table_name(path)
    rows: list[TableRow] = []
    bad: list[Skipped] = []
    for number, entry in enumerate(_load_entries(path), start=1):
        try:
            rows.append(_parse_row(number, entry, *_COLUMNS[path.suffix]))
        except InputError as error:
            bad.append(Skipped(name, f"row {number}", str(error)))
            continue
        unknown = sorted(entry.keys() - seen)
        seen.update(unknown)
        if remarks is not None:
            for key in unknown:
                what = f"the unknown column {key[:80]!r}" if key.isidentifier() else "a column without a valid name"
                remark = f"has {what}, which is ignored; known are {', '.join(columns)}"
                remarks.append(Skipped(name, f"row {number}", remark))
    return rows, bad


def read_table_clips(
    path: Path, rows: list[TableRow], day: str, max_duration_s: float
) -> Iterator[TableClip | Skipped]:
    """Yield each row's audio, or why it cannot be used. Memory holds one clip.

    A clip's session is its folder where that has the name of a Habla session, else the table's name with the row's
    speaker, so that one speaker stays in one split. Its id is derived from its audio, so that the same clip is the
    same segment wherever the table is. `day` is the day of clips whose folder names no session. Clips longer than
    `max_duration_s` are skipped.
    """
    root, name = path.resolve().parent, table_name(path)
    with AudioDecoder() as decoder:
        for row in rows:
            try:
                file = resolve_inside(root, row.audio)
                started = parse_session_start(file.parent.name)
                session = file.parent.name if started else f"{name}-{row.speaker}" if row.speaker else name
                clip_day = started.strftime("%Y-%m-%d") if started else day
                hint = SegmentHint(speaker=row.speaker)
                origin = SegmentOrigin(TABLE, session, clip_day, row.number)
                read = read_segment(file, origin, hint, None, max_duration_s, decoder.decode)
            except InputError as error:
                yield Skipped(name, row.label, str(error))
                continue
            identity = segment_id(TABLE, session, read.audio_sha256)
            yield TableClip(row, replace(read, segment_id=identity, file_name=file.relative_to(root).as_posix()))


def resolve_inside(root: Path, audio: str) -> Path:
    """Return the file that a row names. It must be below `root` after every link is followed.

    Raises `InputError` if it does not exist, cannot be read, or is elsewhere.
    """
    try:
        file = (root / PurePosixPath(audio)).resolve(strict=True)
    except FileNotFoundError:
        raise InputError("names a file that does not exist") from None
    except OSError as error:
        raise InputError(f"names no readable file: {error.strerror}") from None
    except (RuntimeError, ValueError):
        raise InputError("names no readable file") from None
    if not file.is_relative_to(root):
        raise InputError(f"leaves the folder {root.name}/; copy the clip below it")
    return file


def _load_entries(path: Path) -> list[Any]:
    try:
        text = read_plain_file(path.resolve(), _MAX_TABLE_BYTES).decode("utf-8-sig")
        if path.suffix == ".json":
            entries = json.loads(text)
            if not isinstance(entries, list):
                raise InputError(f"holds {type(entries).__name__}, expected a list of objects")
            return entries
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if missing := [key for key in _COLUMNS[".csv"] if key not in (reader.fieldnames or ())]:
            raise InputError(f"lacks the column {missing[0]}; {_describe_header(reader.fieldnames or ())}")
        return list(reader)
    except InputError as error:
        raise InputError(f"table {path} {error}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"table {path} is no {path.suffix[1:].upper()} in UTF-8: {error}") from error


def _describe_header(names: Sequence[str]) -> str:
    """Describe the first line of a table without its cells where it can be a row with a transcript."""
    if all(name.isidentifier() for name in names):
        return f"found {', '.join(names) or 'none'}"
    return f"its first line has {len(names)} cells that are no column names; add a line with the column names"


def _parse_row(number: int, entry: Any, audio_key: str, text_key: str) -> TableRow:
    if isinstance(entry, dict) and None in entry:  # DictReader's key for surplus cells
        raise InputError("has more cells than the header; put a text that holds a comma in quotes")
    audio, status = _get_required_text(entry, audio_key), _parse_status(entry)
    reason = _get_text(entry, "reason") or ""
    if reason and status != "unusable":
        raise InputError(f"has a reason but is {status}; a reason belongs to status unusable")
    return TableRow(
        number=number,
        audio=audio,
        text=(_get_text(entry, text_key) or "") if status == "unusable" else _get_required_text(entry, text_key),
        speaker=_get_text(entry, "speaker"),
        status=status,
        reason=reason,
        person=(_get_text(entry, "person") or "").strip(),
        annotated_at=_parse_time(entry, "annotated_at"),
        model_version=_get_text(entry, "model_version") or "",
    )


def _parse_status(entry: Any) -> AnswerStatus:
    value = _get_text(entry, "status") or "corrected"
    if value not in get_args(AnswerStatus):
        raise InputError(f"has a status that is none of {', '.join(get_args(AnswerStatus))}")
    return cast(AnswerStatus, value)


def _parse_time(entry: Any, key: str) -> datetime | None:
    value = _get_text(entry, key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(f"has no time like 2026-02-16T14:30:22 as {key}") from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InputError(f"has {key} in the year {moment.year}, expected {_FIRST_YEAR}…{_LAST_YEAR}")
    return moment


def _get_required_text(entry: Any, key: str) -> str:
    value = _get_text(entry, key)
    if value is None:
        raise InputError(f"has no {key}")
    return value


def _get_text(entry: Any, key: str) -> str | None:
    if not isinstance(entry, dict):
        raise InputError(f"is {type(entry).__name__}, expected an object")
    value = entry.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(f"has {type(value).__name__} as {key}, expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"has a {key} that is no valid Unicode") from None
    return value
