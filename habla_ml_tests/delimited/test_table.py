"""Delimited tables: every dialect gives the same rows, and a faulty row costs no other row."""

from __future__ import annotations

import contextlib
import csv
import io
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.annotation.sources.tables.rows import is_audio_name
from habla_ml.delimited.table import MAX_ROW_CHARACTERS, DelimitedRow, open_delimited
from habla_ml.errors import InputError

HEADER = ("audio_path", "transcript", "speaker")
ROWS = (
    ("clips/1.wav", 'Dijo "hola, niños"; y ya.', "Lucía"),
    ("clips/2.wav", "¿Mañana? Sí.", ""),
    ("clips/3.wav", "Uno\ndos", "José"),
)


@dataclass(frozen=True)
class TableDialect:
    delimiter: str = ","
    encoding: str = "utf-8"
    line_end: str = "\r\n"
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
    first: str = ""
    last: str = ""

    def write(self, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> bytes:
        return self.encode([self.format(header), *map(self.format, rows)])

    def format(self, row: Sequence[str]) -> str:
        out = io.StringIO(newline="")
        # "\r\n" makes the writer quote cells with either character, whatever ends the lines of the file.
        csv.writer(out, delimiter=self.delimiter, quoting=self.quoting, lineterminator="\r\n").writerow(row)
        return out.getvalue().removesuffix("\r\n")

    def encode(self, lines: Sequence[str]) -> bytes:
        text = self.first + "".join(line + self.line_end for line in lines) + self.last
        return text.encode(self.encoding)


def read_rows(data: bytes, header: Sequence[str] = HEADER[:2]) -> list[DelimitedRow]:
    return list(open_delimited(io.BytesIO(data), [header], is_key=is_audio_name))


def read_cells(data: bytes) -> list[tuple[str, ...]]:
    return [tuple(row.values.get(name, "") for name in HEADER) for row in read_rows(data) if row.problem is None]


DIALECTS = {
    "comma": TableDialect(),
    "semicolon of a Spanish spreadsheet": TableDialect(";"),
    "tab": TableDialect("\t"),
    "bar": TableDialect("|"),
    "UTF-8 with a mark": TableDialect(encoding="utf-8-sig"),
    "Windows-1252": TableDialect(";", encoding="cp1252"),
    "CSV (Macintosh)": TableDialect(";", encoding="mac_roman", line_end="\r"),
    "CSV (MS-DOS)": TableDialect(";", encoding="cp850"),
    "UTF-16 with a mark": TableDialect("\t", encoding="utf-16"),
    "UTF-16, little end first": TableDialect(encoding="utf-16-le"),
    "UTF-16, big end first": TableDialect(encoding="utf-16-be"),
    "UTF-32": TableDialect(encoding="utf-32"),
    "line feeds": TableDialect(line_end="\n"),
    "carriage returns": TableDialect(line_end="\r"),
    "every cell quoted": TableDialect(quoting=csv.QUOTE_ALL),
    "sep=": TableDialect(";", first="sep=;\r\n"),
    "quoted sep=": TableDialect(first='"sep=,"\n', line_end="\n"),
    "sep= of another character": TableDialect("~", first="sep=~\n", line_end="\n"),
    "blank lines": TableDialect(first="\n\n", last="\n \n,,\n\0\0\0\n\x1a"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_same_rows(name: str) -> None:
    assert read_cells(DIALECTS[name].write(ROWS)) == list(ROWS)


@pytest.mark.parametrize(
    "header",
    [
        ("Audio_Path", "TRANSCRIPT", "Speaker"),
        (" audio path ", "transcript ", "speaker"),
        ("audio_path\u00a0", "\u00a0transcript", "speaker"),
        ("audio-path", "Transcript", "speaker"),
    ],
)
def test_capitals_and_blanks_in_the_header_do_not_matter(header: tuple[str, ...]) -> None:
    assert read_cells(TableDialect().write(ROWS, header)) == list(ROWS)


def test_the_index_that_pandas_writes_is_no_surplus_cell() -> None:
    data = b",audio_path,transcript,speaker,\n0,1.wav,Hola,Ana,\n1,2.wav,Adios,Eva,tres\n"
    rows = read_rows(data)
    assert [row.values.get("transcript") for row in rows] == ["Hola", None]
    assert "more cells than the header" in (rows[1].problem or "")


def test_blanks_after_the_separator_are_not_part_of_the_cells() -> None:
    data = b'audio_path, transcript, speaker\n1.wav, "Hola, ""ni\xc3\xb1os""", Ana\n2.wav, Adios., Eva\n'
    assert read_cells(data) == [("1.wav", 'Hola, "niños"', "Ana"), ("2.wav", "Adios.", "Eva")]


def test_blanks_before_a_quote_are_skipped_without_touching_the_other_cells() -> None:
    data = b'audio_path,transcript,speaker\n1.wav, "Hola, tu",Ana\n2.wav, Bueno. , "Eva"\n'
    assert read_cells(data) == [("1.wav", "Hola, tu", "Ana"), ("2.wav", " Bueno. ", "Eva")]


def test_a_quote_in_the_middle_of_a_cell_is_part_of_the_text() -> None:
    for delimiter in (";", "\t"):
        lines = [delimiter.join(each) for each in [HEADER, ("1.wav", 'Dijo "sí" y ya', "Ana")]]
        assert read_cells("\n".join(lines).encode()) == [("1.wav", 'Dijo "sí" y ya', "Ana")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('b.wav,"Hola', "badly quoted (line 3 of the file)"),
        ('b.wav,"Hola" dijo', "badly quoted"),
        ('"b.wav,Hola', "badly quoted"),
        ("b.wav,Hola, niños,Ana,", "more cells than the header"),
        ("b.wav,Ho\0la", "NUL character"),
        ("b.wav," + "x" * MAX_ROW_CHARACTERS, f"more than {MAX_ROW_CHARACTERS} characters"),
        ('b.wav,"' + "x" * 3 * MAX_ROW_CHARACTERS, f"more than {MAX_ROW_CHARACTERS} characters"),
    ],
)
def test_a_faulty_row_is_set_aside_alone_with_its_number(line: str, problem: str) -> None:
    good = [("a.wav", "Uno", ""), ("c.wav", 'Dos, "tres"', ""), ("d.wav", "Cua\ntro", "")]
    first, *others = map(TableDialect().format, good)
    data = TableDialect().encode([",".join(HEADER), first, line, *others])
    assert read_cells(data) == good
    [faulty] = [each for each in read_rows(data) if each.problem]
    assert faulty.number == 2
    assert problem in (faulty.problem or "")


def test_a_damaged_byte_costs_one_row_of_a_table_in_utf_8() -> None:
    data = TableDialect().write([("a.wav", "Mañana", ""), ("b.wav", "XX", ""), ("c.wav", "Sí", "")])
    faulty = read_rows(data.replace(b"XX", b"\xff\xfe"))
    assert [each.values.get("transcript") for each in faulty] == ["Mañana", None, "Sí"]
    assert "not UTF-8" in (faulty[1].problem or "")


def test_a_short_row_lacks_its_last_cells_and_empty_last_columns_are_ignored() -> None:
    [short, long] = read_rows(b"audio_path;transcript;speaker;;\n1.wav;Hola\n2.wav;Hola;Ana;;\n")
    assert dict(short.values) == {"audio_path": "1.wav", "transcript": "Hola"}
    assert long.values["speaker"] == "Ana"
    assert long.problem is None


def test_a_row_that_is_quoted_as_a_whole_is_read() -> None:
    lines = [",".join(HEADER), '"a.wav,""Hola, niños"",Ana"']
    assert read_cells("\n".join(lines).encode()) == [("a.wav", "Hola, niños", "Ana")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "lacks the column audio_path; found none"),
        (b"sep=;\n", "lacks the column audio_path"),
        (b"path;text\n", "lacks the column audio_path; found path, text"),
        (b"Buenos dias;Hola, mundo.\n", "its first line has 2 cells that are no column names"),
        (b"audio_path,transcript,Transcript\n", "has the column transcript 2 times; remove all but one"),
        (b"audio_path,transcript\n\x9d", "neither UTF-8 nor Windows-1252: byte 22 .* 0x9d; .* save it as UTF-8"),
        ("audio_path".encode("utf-16") + b"\x00", "is not UTF-16: byte 22 .* is 0x00"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_next_step(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(data)


@pytest.mark.parametrize("letters", ["é", "¡Sí!", "ñ", "€", "·", "«a»"])
def test_a_code_page_is_windows_1252_where_nothing_speaks_for_another(letters: str) -> None:
    found = open_delimited(io.BytesIO(TableDialect(encoding="cp1252").write([("a.wav", letters, "")])), [HEADER])
    assert found.encoding.label == "Windows-1252"


@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\0\x06\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_with_the_name_of_a_table_is_refused_with_the_next_step(start: bytes) -> None:
    with pytest.raises(InputError, match=r"workbook and no text; .* save it as CSV UTF-8"):
        read_rows(start + bytes(range(256)))


def test_a_guessed_encoding_is_marked() -> None:
    pages = [("Windows-1252", "cp1252"), ("Mac Roman", "mac_roman"), ("MS-DOS code page 850", "cp850")]
    for name, encoding in (*pages, ("UTF-16-LE", "utf-16-le")):
        found = open_delimited(io.BytesIO(TableDialect(encoding=encoding).write(ROWS)), [HEADER]).encoding
        assert (found.label, found.is_guessed) == (name, True)
    assert not open_delimited(io.BytesIO(TableDialect().write(ROWS)), [HEADER]).encoding.is_guessed


@given(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"sep=", b"audio_path,transcript\n", b"audio_path;transcript\r", b"\xff\xfe", b"\xef\xbb\xbf"]
    ),
    st.sampled_from(
        [b"", b"\n1.wav,Hola", b'"'],
    ),
)
def test_any_bytes_give_rows_or_an_input_error(data: bytes, start: bytes, end: bytes) -> None:
    with contextlib.suppress(InputError):
        for row in read_rows(start + data + end):
            assert (row.problem is None) == bool(row.values)
            "".join(row.values.values()).encode()  # no damaged character is left


@pytest.mark.long
def test_a_hostile_table_of_opened_quotes_costs_little_time() -> None:
    started = time.process_time()
    rows = read_rows(",".join(HEADER).encode() + b'\n"' * 60_000)
    assert len(rows) == 60_000
    assert all(each.problem for each in rows)
    assert time.process_time() - started < 2  # 0.4 s, and 4.4 s with a search at every row


@pytest.mark.long
def test_memory_does_not_grow_with_the_table() -> None:
    data = TableDialect().write([(f"{number}.wav", "Hola, niños. " * 40, "Ana") for number in range(10_000)])
    tracemalloc.start()
    assert sum(1 for _ in open_delimited(io.BytesIO(data), [HEADER])) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20 < len(data)


LATIN = "aBn ñáé'.,;:|\t\"=\n"
CELLS = {
    "utf-8": st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(LATIN), max_size=20),
    "latin": st.text(LATIN, max_size=20),
}
FORMS: list[tuple[str, str, Literal[0, 1]]] = [
    ("utf-8", "\n", csv.QUOTE_MINIMAL),
    ("utf-8-sig", "\r\n", csv.QUOTE_ALL),
    ("utf-16", "\r\n", csv.QUOTE_MINIMAL),
    ("cp1252", "\r\n", csv.QUOTE_MINIMAL),
    ("utf-16-be", "\r", csv.QUOTE_MINIMAL),
]
WRITTEN = [TableDialect(delimiter, *form) for delimiter in ",;\t|" for form in FORMS]


def draw_rows(data: st.DataObject, dialect: TableDialect) -> list[tuple[str, ...]]:
    cells = CELLS["utf-8" if dialect.encoding in ("utf-8", "utf-8-sig", "utf-16") else "latin"]
    texts = data.draw(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
    return [(f"c/{number}.wav", *each) for number, each in enumerate(texts)]


@given(st.data(), st.sampled_from(WRITTEN))
def test_rows_written_in_any_dialect_read_back_equal(data: st.DataObject, dialect: TableDialect) -> None:
    rows = draw_rows(data, dialect)
    assert read_cells(dialect.write(rows)) == rows


@given(st.data(), st.sampled_from(WRITTEN))
def test_a_mutated_row_loses_no_other_row(data: st.DataObject, dialect: TableDialect) -> None:
    rows = draw_rows(data, dialect)
    at = data.draw(st.integers(0, len(rows) - 1))
    lines = [dialect.format(each) for each in [HEADER, *rows]]
    line = lines[at + 1]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    lines[at + 1] = line[:start] + data.draw(st.text(LATIN.replace("\n", ""), max_size=10)) + line[end:]
    found = read_cells(dialect.encode(lines))
    assert [each for each in rows[:at] + rows[at + 1 :] if each not in found] == []
