"""Tables in Markdown and in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from habla_ml.tables import TableCell, TextTable, escape_markdown, print_table, render_markdown_table

TABLE = TextTable.of(
    "WER",
    ["Metric", "v2 [red]"],
    [[TableCell("WER", "below 10 %"), TableCell("12.3 %", status="missed")], ["CER | x", "-1.0"]],
)


def test_markdown_has_notes_statuses_and_escaped_texts() -> None:
    assert render_markdown_table(TABLE).splitlines() == [
        r"| Metric | v2 \[red\] |",
        "| --- | ---: |",
        "| WER; below 10 % | 12.3 %, ✗ not met |",
        r"| CER \| x | \-1.0 |",
    ]
    assert render_markdown_table(TextTable.of("", ["a"], [])) == ""
    assert escape_markdown("- a | b\n# c <b>") == r"\- a \| b \# c \<b\>"


@pytest.mark.parametrize("width", [40, 200])
def test_the_terminal_shows_every_cell_in_full_at_any_width(width: int) -> None:
    out = io.StringIO()
    print_table(Console(file=out, width=width), TABLE)
    assert "…" not in out.getvalue()
    for text in ("v2 [red]", "12.3 %", "-1.0", "CER | x"):
        assert text in out.getvalue()
    assert all(len(line) <= width for line in out.getvalue().splitlines())
