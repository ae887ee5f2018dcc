"""Output of the commands about models."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.report.tables import build_scoreboard_table
from habla_ml.settings import AcceptableSettings
from habla_ml.tables import print_table
from habla_ml_tests.testing.full_comparison import make_full_comparison


@pytest.mark.long
@pytest.mark.parametrize("width", [80, 240])
def test_the_scoreboard_shows_every_value_in_full_at_any_width(width: int) -> None:
    comparison, _ = make_full_comparison()
    rows = build_scoreboard(comparison, AcceptableSettings())
    out = io.StringIO()
    print_table(Console(file=out, width=width), build_scoreboard_table(comparison, rows))
    assert "…" not in out.getvalue()
    assert all(cell.text in out.getvalue() for row in rows for cell in row.cells)
    assert all(len(line) <= width for line in out.getvalue().splitlines())
