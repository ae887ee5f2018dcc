"""Cells that no person typed are refused with the next step, and the other rows are imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.annotation.sources.tables.rows import TableRow, read_table
from habla_ml.recordings.sessions import Skipped

HEADER = "audio_path;transcript;speaker;status;hint;task"


def read_lines(folder: Path, *lines: str, encoding: str = "utf-8") -> tuple[list[TableRow], list[Skipped]]:
    path = folder / "t.csv"
    path.write_bytes("\n".join([HEADER, *lines]).encode(encoding))
    return read_table(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#¿NOMBRE?", "error or a formula"),
        ("#NAME?", "error or a formula"),
        ("#¡VALOR!", "error or a formula"),
        ("#N/D", "error or a formula"),
        ("#¡DIV/0!", "error or a formula"),
        ("########", "error or a formula"),
        ("Err:508", "error or a formula"),
        ("=SUMA(A1)", "error or a formula"),
        ("nan", "wrote for an empty cell; clear the cell"),
        ("NULL", "wrote for an empty cell; clear the cell"),
        ("MaÃ±ana", "wrong encoding; save the table as UTF-8"),
        ("Ma\N{REPLACEMENT CHARACTER}ana", "lost letters"),
    ],
)
@pytest.mark.parametrize("column", ["transcript", "speaker"])
def test_a_cell_that_nobody_typed_costs_its_row_only(tmp_path: Path, text: str, reason: str, column: str) -> None:
    bad = f"1.wav;{text};Ana" if column == "transcript" else f"1.wav;Hola.;{text}"
    rows, [skipped] = read_lines(tmp_path, bad, "2.wav;Hola.;Ana")
    assert [each.text for each in rows] == ["Hola."]
    assert skipped.reason.startswith(f"has a {column} that ")
    assert reason in skipped.reason


@pytest.mark.parametrize("text", ["-Hola.", "# cinco", "+ dos", "= cuatro", "#hola", "Nan y Nulo", "'Ta bien", "N/A?"])
def test_what_looks_like_a_fault_and_is_typed_is_kept(tmp_path: Path, text: str) -> None:
    assert [each.text for each in read_lines(tmp_path, f"1.wav;{text};Ana")[0]] == [text]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b"])
def test_a_blank_transcript_is_none_and_a_blank_task_of_the_queue_waits(tmp_path: Path, blank: str) -> None:
    rows, skipped = read_lines(tmp_path, f"1.wav;{blank};Ana", f"2.wav;{blank};;;;review", "3.wav;Hola.;Ana")
    assert [each.number for each in rows] == [3]
    assert [(each.file, each.reason) for each in skipped] == [("row 1", "has no transcript")]


def test_a_spreadsheet_that_damaged_the_shown_text_does_not_cost_the_answer(tmp_path: Path) -> None:
    [row], _ = read_lines(tmp_path, "1.wav;Hola.;;;#¿NOMBRE?;review")
    assert (row.text, row.hint) == ("Hola.", "")


def test_the_text_of_an_unusable_segment_can_be_anything(tmp_path: Path) -> None:
    [row], _ = read_lines(tmp_path, "1.wav;N/A;;unusable")
    assert (row.status, row.text) == ("unusable", "N/A")


def test_a_path_is_no_text(tmp_path: Path) -> None:
    rows, skipped = read_lines(tmp_path, "file:///C:/t/ni%C3%B1o.wav;Hola.;Ana", "niÃ±o.wav;Hola.;Ana")
    assert (len(rows), skipped) == (2, [])


@pytest.mark.parametrize("encoding", ["mac_roman", "cp850", "cp1252"])
def test_a_table_in_each_code_page_of_excel_has_the_typed_letters(tmp_path: Path, encoding: str) -> None:
    [row], _ = read_lines(tmp_path, "1.wav;¿Mañana vendrá José?;Íñigo", encoding=encoding)
    assert (row.text, row.speaker) == ("¿Mañana vendrá José?", "Íñigo")
