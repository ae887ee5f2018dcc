"""Tables of transcripts: `fine_tune_dataset.csv` and `fine_tune_dataset.json`.

Required columns are `audio_path,transcript` in CSV; JSON is a list of objects with `audio,text`. `speaker` is optional;
`duration` and `notes` are ignored. Capitals and blanks in names of columns and files do not matter. A table can come
from a spreadsheet: `habla_ml.delimited` reads its separators, quotes and encodings.

Further optional columns: `status` (corrected, confirmed or unusable; default corrected), `reason` (why it is unusable),
`person`, `annotated_at` (ISO 8601) and `model_version` (of the text that the person saw). A row with an invalid value
is skipped as a whole, with its number.

A table that `tables.review_table` wrote has two more columns: `task`, the key of a blind request or `review`, and `hint`,
the text that the person sees. A row with a task and an empty transcript waits for its person; `unusable` is written as a
status, so that an empty cell never means "no speech".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast, get_args

from habla_ml.annotation.events import AnswerStatus
from habla_ml.annotation.review_queue import BLIND_PREFIX, BlindRequest
from habla_ml.damaged_text import find_damage, is_blank
from habla_ml.delimited.encoding import decode_text
from habla_ml.delimited.spreadsheet import read_cell
from habla_ml.delimited.table import canonical_column, open_delimited
from habla_ml.errors import InputError, InputUnavailableError
from habla_ml.json_input import parse_json
from habla_ml.lake import compute_digest
from habla_ml.names import escape_name
from habla_ml.recordings.sessions import Skipped, open_plain_file, read_plain_file

_MAX_TABLE_BYTES: Final = 128 << 20
_MAX_JSON_BYTES: Final = 64 << 20
_MAX_ROWS: Final = 1_000_000
"""Rows of one table: 800 hours of segments of 3 s. An import keeps all of them in memory, 500 bytes each."""
_DELIMITED_COLUMNS: Final = ("audio_path", "transcript")
_COLUMNS: Final = {".csv": _DELIMITED_COLUMNS, ".tsv": _DELIMITED_COLUMNS, ".json": ("audio", "text")}
_OPTIONAL_COLUMNS: Final = ("speaker", "status", "reason", "person", "annotated_at", "model_version", "task", "hint")
_IGNORED_COLUMNS: Final = ("duration", "notes")
_AUDIO_SUFFIXES: Final = (
    ".aac",
    ".aif",
    ".aiff",
    ".caf",
    ".flac",
    ".m4a",
    ".mp3",
    ".mp4",
    ".oga",
    ".ogg",
    ".opus",
    ".wav",
    ".wave",
    ".webm",
)
_SPREADSHEET_FAULT: Final = re.compile(r"#[¡¿]?[A-ZÁÉÍÓÚ/0]+[!?]?|#{2,}|Err:\d{3}|=\w.*", re.DOTALL)
"""An error of a spreadsheet, or a formula: "-Hola" typed into a cell is a formula with the error #¿NOMBRE?."""
_EMPTY_CELLS: Final = frozenset(["nan", "NaN", "NaT", "<NA>", "null", "NULL", "None", "n/a", "N/A"])
"""What programs write for a missing value."""
_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2100


@dataclass(frozen=True, slots=True)
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
    task: str = ""
    """Key of the blind request that the row answers, or `review`; empty in a table of another program."""
    hint: str = ""
    """The text that the person saw."""

    def is_answer_to(self, request: BlindRequest | None) -> bool | None:
        """Return whether the row answers this blind request; None for a row of another program's table."""
        if not self.task:
            return None
        key = self.task.removeprefix(BLIND_PREFIX)
        return request is not None and key == request.task and not (self.hint or self.model_version)

    @property
    def label(self) -> str:
        """The row's name in reports: its number, and its file where the cell is a file name rather than a text."""
        return f"row {self.number}: {self.audio[:120]}" if is_audio_name(self.audio) else f"row {self.number}"


def find_table_file(path: Path) -> Path:
    """Return the table file of a path or a folder; raise `InputError` if there is none of a known name or kind."""
    if path.is_dir():
        kinds = ("fine_tune_dataset.csv", "fine_tune_dataset.tsv", "fine_tune_dataset.json")
        with os.scandir(path) as entries:  # thousands of clips can lie beside the table, and every tick looks for it
            names = [each.name for each in entries if each.name.lower() in kinds and each.is_file()]
        for wanted in kinds:
            found = sorted(each for each in names if each.lower() == wanted)
            if len(found) > 1:
                raise InputError(f"{path} holds {' and '.join(found)}, which differ in capitals only; remove one")
            if found:
                return path / found[0]
        raise InputError(f"{path} holds neither fine_tune_dataset.csv nor fine_tune_dataset.json")
    if path.suffix.lower() not in _COLUMNS:
        raise InputError(f"{path} is no table: expected a name that ends in {' or '.join(_COLUMNS)}")
    return path


def fingerprint_table(path: Path) -> str:
    """Return a digest of the table's size and times of change; raise `InputUnavailableError` if it does not exist.

    The time of its entry is among them, so that a table whose rights were corrected is read.
    """
    try:
        found = find_table_file(path).stat()
    except OSError as error:
        fault = f"table {path} cannot be read: {error.strerror}"
        raise InputUnavailableError(f"{fault}; correct annotation.tables") from error
    return compute_digest(["habla_ml.tables/4", found.st_size, found.st_mtime_ns, found.st_ctime_ns])


def is_audio_name(cell: str) -> bool:
    """Return whether a cell ends like the name of an audio file."""
    return cell.rstrip().lower().endswith(_AUDIO_SUFFIXES)


def table_name(path: Path) -> str:
    """Return the name of a table in reports, events and sessions: its folder and its own name."""
    return escape_name(f"{path.resolve().parent.name}-{path.stem}")


def read_table(path: Path, remarks: list[Skipped] | None = None) -> tuple[list[TableRow], list[Skipped]]:
    """Return the rows of a table, and the invalid rows with number and reason.

    `remarks` receives each unknown column, once, at the first row that has it, and an encoding that was guessed. Raises
    `InputError` if the file cannot be read, is not of its kind, has too many rows, or lacks a required column.
    """
    audio_key, text_key = _COLUMNS[path.suffix.lower()]
    known = (audio_key, text_key, *_OPTIONAL_COLUMNS, *_IGNORED_COLUMNS)
    seen, name = set(known), table_name(path)
    noted: list[Skipped] = [] if remarks is None else remarks
    rows: list[TableRow] = []
    bad: list[Skipped] = []
    waiting = 0
    for number, entry in _read_entries(path, known, noted):
        if number > _MAX_ROWS:
            raise InputError(f"table {path} has more than {_MAX_ROWS:,} rows; split it into several tables")
        if _is_waiting(entry, text_key):
            waiting += 1
            continue
        try:
            rows.append(_parse_row(number, entry, audio_key, text_key))
        except InputError as error:
            bad.append(Skipped(name, f"row {number}", str(error)))
            continue
        unknown = sorted(entry.keys() - seen)
        seen.update(unknown)
        for key in unknown:
            what = f"the unknown column {key[:80]!r}" if key.isidentifier() else "a column without a valid name"
            remark = f"has {what}, which is ignored; known are {', '.join(known)}"
            noted.append(Skipped(name, f"row {number}", remark))
    if waiting:
        noted.append(Skipped(name, escape_name(path.name), f"has {waiting} rows that wait for a transcript"))
    return rows, bad


def _is_waiting(entry: Any, text_key: str) -> bool:
    """Return whether the row is a task of the review queue that nobody has answered yet."""
    if not isinstance(entry, dict):
        return False
    return not _is_empty(entry.get("task")) and _is_empty(entry.get(text_key)) and _is_empty(entry.get("status"))


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and is_blank(cell))


def _read_entries(path: Path, known: tuple[str, ...], remarks: list[Skipped]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the columns of each row, or the `InputError` of a row that cannot be read."""
    try:
        yield from _read_json(path) if path.suffix.lower() == ".json" else _read_delimited(path, known, remarks)
    except InputError as error:
        raise InputError(f"table {path} {error}") from None


def _read_delimited(path: Path, known: tuple[str, ...], remarks: list[Skipped]) -> Iterator[tuple[int, Any]]:
    with open_plain_file(path.resolve(), _MAX_TABLE_BYTES) as file:
        table = open_delimited(file, [_DELIMITED_COLUMNS], known, is_audio_name)
        if table.encoding.is_guessed:
            remark = f"was read as {table.encoding.label}, which is a guess; if accents are wrong, save it as UTF-8"
            remarks.append(Skipped(table_name(path), escape_name(path.name), remark))
        for row in table:
            yield row.number, InputError(row.problem) if row.problem else {**row.values}


def _read_json(path: Path) -> Iterator[tuple[int, Any]]:
    data = read_plain_file(path.resolve(), _MAX_JSON_BYTES)
    entries = parse_json(decode_text(data).encode("utf-8"))
    if not isinstance(entries, list):
        raise InputError(f"holds {type(entries).__name__}, expected a list of objects")
    for number, entry in enumerate(entries, start=1):
        yield number, _rename_keys(entry) if isinstance(entry, dict) else entry


def _rename_keys(entry: Mapping[str, Any]) -> Any:
    renamed = {canonical_column(key): value for key, value in entry.items()}
    return renamed if len(renamed) == len(entry) else InputError("has a key twice; remove one")


def _parse_row(number: int, entry: Any, audio_key: str, text_key: str) -> TableRow:
    if isinstance(entry, InputError):
        raise entry
    audio, status = _get_text(entry, audio_key), _parse_status(entry)
    # The text of an unusable segment can be anything, such as N/A.
    text = _get_text(entry, text_key) if status == "unusable" else _get_typed_text(entry, text_key)
    reason = _get_typed_text(entry, "reason") or ""
    if audio is None or (text is None and status != "unusable"):
        raise InputError(f"has no {audio_key if audio is None else text_key}")
    if reason and status != "unusable":
        raise InputError(f"has a reason but is {status}; a reason belongs to status unusable")
    return TableRow(
        number=number,
        audio=audio,
        text=text or "",
        speaker=_get_typed_text(entry, "speaker"),
        status=status,
        reason=reason,
        person=(_get_typed_text(entry, "person") or "").strip(),
        annotated_at=_parse_time(entry, "annotated_at"),
        model_version=_get_text(entry, "model_version") or "",
        task=(_get_text(entry, "task") or "").strip(),
        hint=_get_hint(entry),
    )


def _parse_status(entry: Any) -> AnswerStatus:
    value = (_get_text(entry, "status") or "corrected").strip().lower()
    if value not in get_args(AnswerStatus):
        raise InputError(f"has a status that is none of {', '.join(get_args(AnswerStatus))}")
    return cast(AnswerStatus, value)


def _parse_time(entry: Any, key: str) -> datetime | None:
    value = _get_text(entry, key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InputError(f"has no time like 2026-02-16T14:30:22 as {key}") from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InputError(f"has {key} in the year {moment.year}, expected {_FIRST_YEAR}…{_LAST_YEAR}")
    return moment


def _get_hint(entry: Any) -> str:
    """Return the text that the person saw; a spreadsheet damages it without the person's doing."""
    hint = entry.get("hint") or ""
    return "" if isinstance(hint, str) and _find_cell_fault(hint) else read_cell(_get_text(entry, "hint") or "")


def _get_typed_text(entry: Any, key: str) -> str | None:
    """Return the text of a cell as a person typed it; None where it is blank."""
    text = _get_text(entry, key)
    if text is not None and (fault := _find_cell_fault(text)) is not None:
        raise InputError(f"has a {key} that {fault}")
    return text


def _get_text(entry: Any, key: str) -> str | None:
    """Return the text of a cell as written; None where it is blank."""
    if not isinstance(entry, dict):
        raise InputError(f"is {type(entry).__name__}, expected an object")
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"has {type(value).__name__} as {key}, expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"has a {key} that is no valid Unicode") from None
    return None if is_blank(value) else value


def _find_cell_fault(text: str) -> str | None:
    """Return why nobody typed the text of a cell, and the next step, as the end of a sentence; None where it is fine."""
    if (damage := find_damage(text)) is not None:
        return f"{damage}; save the table as UTF-8 and type it again"
    if _SPREADSHEET_FAULT.fullmatch(text.strip()):
        return "is an error or a formula of the spreadsheet; format the column as text and type it again"
    return "a program wrote for an empty cell; clear the cell" if text.strip() in _EMPTY_CELLS else None
