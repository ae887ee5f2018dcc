"""Read a delimited table row by row: any usual separator, quotes, line end and encoding.

The header decides the separator: the first of comma, semicolon, tab and bar with which it has the required columns. A
first line `sep=;` decides too. Names of columns are compared without capitals and blanks.

A row that is badly quoted is set aside alone. An opened quote may run over several lines, but never over a line that
starts another row, and never further than the longest row.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, Final

from habla_ml.delimited.encoding import TextEncoding, detect_encoding, has_damage
from habla_ml.errors import InputError

MAX_ROW_CHARACTERS: Final = 65_536
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_NAME_SPACE: Final = re.compile(r"[\s\-]+")
_NAME_ENDS: Final = re.compile(r"^[\s\0\ufeff\"']+|[\s\0\ufeff\"']+$")
_BLANK_BEFORE_QUOTE: Final = re.compile(' +"')
_BLANK: Final = "\0 \t\f\v\x1a\ufeff"
"""Control-Z ends the files of some old programs."""
_MAX_ROW_LINES: Final = 20
"""Lines of a row whose quoted cell holds line ends."""
_MAX_UNPAIRED_ROWS: Final = 1_000
"""Badly quoted rows of a table after which an opened quote no longer runs over lines: the search costs 20 lines each."""
_MAX_BLANK_LINES: Final = 1_000
"""Before the header."""


@dataclass(frozen=True, slots=True)
class DelimitedRow:
    """One row of a table."""

    number: int
    """Counted from 1, without the header and blank lines."""
    line: int
    """Line of the file, counted from 1, where the row starts."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Column → cell. Cells that a short row lacks are absent; empty where the row has a problem."""
    problem: str | None = None
    """Why the row cannot be read."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    """Without its end."""
    end: str
    is_too_long: bool = False


@dataclass
class DelimitedTable:
    """An open table. Iterate once to read its rows; memory holds one row."""

    columns: tuple[str, ...]
    """In lower case, with `_` for blanks; empty for columns without a name."""
    encoding: TextEncoding
    delimiter: str
    _lines: _LineReader
    _has_blanks: bool
    """Whether a blank follows each separator of the header."""
    _is_row_start: Callable[[Sequence[str]], bool]
    _unpaired_rows: int = 0

    def __iter__(self) -> Iterator[DelimitedRow]:
        """Yield the rows, also those that cannot be read."""
        number, blank = 0, f"{_BLANK}{self.delimiter}"
        while (line := self._lines.read()) is not None:
            if line.is_too_long or line.text.strip(blank):
                number += 1
                yield self._read_row(number, line)

    def _read_row(self, number: int, line: _Line) -> DelimitedRow:
        if line.is_too_long:
            return DelimitedRow(number, line.number, problem=f"has more than {MAX_ROW_CHARACTERS} characters")
        cells = _split_row([line.text], self.delimiter, self._has_blanks)
        if cells is None and self._unpaired_rows < _MAX_UNPAIRED_ROWS:
            cells = self._read_continued_row(line)
            self._unpaired_rows += cells is None
        if cells is None and self.delimiter == "\t" and line.text.count("\t") + 1 == len(self.columns):
            cells = line.text.split("\t")  # Common Voice writes quotes as they are
        if cells is None:
            fault = f"is badly quoted (line {line.number} of the file)"
            remedy = "put quotes around the whole cell, and write a quote inside it twice"
            return DelimitedRow(number, line.number, problem=f"{fault}; {remedy}")
        if problem := self._find_problem(cells):
            return DelimitedRow(number, line.number, problem=problem)
        return DelimitedRow(number, line.number, dict(zip(self.columns, cells, strict=False)))

    def _find_problem(self, cells: Sequence[str]) -> str | None:
        if len(cells) > len(self.columns) or "" in self.columns:
            # The first column without a name is the index that pandas writes.
            surplus = [each for name, each in zip(self.columns[1:], cells[1:], strict=False) if not name]
            surplus += cells[len(self.columns) :]
            if any(each.strip() for each in surplus):
                separator = _DELIMITERS.get(self.delimiter, repr(self.delimiter))
                return f"has more cells than the header; put a text that holds a {separator} in quotes"
        row = "".join(cells)
        if "\0" in row:
            return "has a NUL character; type the row again"
        return "is not UTF-8; type its accented letters again" if has_damage(row) else None

    def _read_continued_row(self, first: _Line) -> list[str] | None:
        """Return the cells of a row whose quoted cell holds line ends; None, with no line read, if it is none."""
        lines, size = [first], len(first.text)
        while (line := self._lines.read()) is not None:
            lines.append(line)
            size += len(line.text)
            is_over = line.is_too_long or size > MAX_ROW_CHARACTERS or len(lines) > _MAX_ROW_LINES
            if is_over or self._is_row_start([each.strip().strip('"') for each in line.text.split(self.delimiter)]):
                break
            if '"' in line.text:
                texts = [each.text + each.end for each in lines[:-1]]
                cells = _split_row([*texts, line.text], self.delimiter, self._has_blanks)
                if cells is not None and len(cells) == len(self.columns):
                    return cells
        self._lines.unread(lines[1:])
        return None


def open_delimited(
    file: BinaryIO,
    layouts: Sequence[Sequence[str]],
    known: Collection[str] = (),
    is_key: Callable[[str], bool] = lambda _cell: False,
) -> DelimitedTable:
    """Read the header of a table.

    Args:
        file: A seekable binary file. It is closed with the table.
        layouts: The required columns, by layout of the table; the table must have all columns of one.
        known: Further columns that have a meaning. A required or known column may be there only once.
        is_key: Whether a cell can be the first required column of a row. A line with such a cell starts a row, even
            where the quote of an earlier row was never closed.

    Raises:
        InputError: The file cannot be decoded, or its header lacks or repeats a column.
    """
    encoding = detect_encoding(file)
    lines = _LineReader(io.TextIOWrapper(file, encoding.codec, encoding.errors, newline=""))
    line = lines.read_header_line()
    separator = _SEPARATOR_LINE.fullmatch(line.strip())
    if separator:
        line = lines.read_header_line()
    candidates = dict.fromkeys([*([separator[1]] if separator else []), *_DELIMITERS])
    headers = {each: _split_header(line, each) for each in candidates}
    for delimiter, columns in headers.items():
        layout = next((each for each in layouts if set(each) <= set(columns)), None)
        if layout is not None:
            _require_single(columns, {*layout, *known})
            has_blanks = len(columns) > 1 and line.count(f"{delimiter} ") == line.count(delimiter)
            is_row_start = partial(_has_key, at=columns.index(layout[0]), is_key=is_key)
            return DelimitedTable(columns, encoding, delimiter, lines, has_blanks, is_row_start)
    widest = max(headers.values(), key=len)
    missing = next(each for each in layouts[0] if each not in widest)
    raise InputError(f"lacks the column {missing}; {_describe_header(widest)}")


def canonical_column(name: str) -> str:
    """Return the name of a column in lower case, composed, with `_` for blanks and hyphens."""
    visible = _NAME_ENDS.sub("", unicodedata.normalize("NFC", name))
    return _NAME_SPACE.sub("_", visible).casefold()


@dataclass
class _LineReader:
    """Lines of a text with their ends, which can be put back."""

    text: io.TextIOWrapper
    number: int = 0
    _waiting: deque[_Line] = field(default_factory=deque)

    def read(self) -> _Line | None:
        """Return the next line, or None at the end of the text."""
        if self._waiting:
            return self._waiting.popleft()
        whole = self.text.readline(MAX_ROW_CHARACTERS + 2)
        if not whole:
            return None
        self.number += 1
        line = whole.rstrip("\r\n")
        if line != whole or len(whole) <= MAX_ROW_CHARACTERS:
            return _Line(self.number, line, whole[len(line) :])
        while (rest := self.text.readline(MAX_ROW_CHARACTERS)) and not rest.endswith(("\r", "\n")):
            pass
        return _Line(self.number, "", "", is_too_long=True)

    def read_header_line(self) -> str:
        """Return the next line that is not blank; empty if the text has none."""
        for _ in range(_MAX_BLANK_LINES):
            line = self.read()
            if line is None or line.text.strip(_BLANK):
                return "" if line is None else line.text
        return ""

    def unread(self, lines: Sequence[_Line]) -> None:
        """Put lines back, to be read next."""
        self._waiting.extendleft(reversed(lines))


def _split_row(lines: Sequence[str], delimiter: str, has_blanks: bool) -> list[str] | None:
    """Return the cells of one row, which may be wholly quoted; None if its quotes are not paired."""
    if len(lines) == 1 and '"' not in lines[0] and not has_blanks:
        return lines[0].split(delimiter)
    cells = _parse_quoted(lines, delimiter, has_blanks)
    if cells is None or any(_BLANK_BEFORE_QUOTE.match(each) for each in cells):
        others = _parse_quoted(lines, delimiter, True)
        if cells is None or (others is not None and len(others) < len(cells)):
            cells = others
        elif others is not None:
            cells = [b if _BLANK_BEFORE_QUOTE.match(a) else a for a, b in zip(cells, others, strict=True)]
    if cells is not None and len(cells) == 1 and delimiter in cells[0]:
        return _parse_quoted([cells[0]], delimiter, has_blanks) or cells
    return cells


def _parse_quoted(lines: Sequence[str], delimiter: str, skips_blanks: bool) -> list[str] | None:
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=skips_blanks)
    try:
        cells = next(reader)
    except (csv.Error, StopIteration):
        return None
    return cells if reader.line_num == len(lines) else None


def _split_header(line: str, delimiter: str) -> tuple[str, ...]:
    cells = _split_row([line], delimiter, True) or line.split(delimiter)
    return tuple(canonical_column(each) for each in cells) if line else ()


def _has_key(cells: Sequence[str], at: int, is_key: Callable[[str], bool]) -> bool:
    return len(cells) > at and is_key(cells[at])


def _require_single(columns: Sequence[str], names: Collection[str]) -> None:
    repeated = sorted(name for name in names if columns.count(name) > 1)
    if repeated:
        raise InputError(f"has the column {repeated[0]} {columns.count(repeated[0])} times; remove all but one")


def _describe_header(names: Sequence[str]) -> str:
    """Describe the first line of a table without its cells where it can be a row with a transcript."""
    if all(name.isidentifier() for name in names if name):
        return f"found {', '.join(filter(None, names))[:300] or 'none'}"
    return f"its first line has {len(names)} cells that are no column names; add a line with the column names"
