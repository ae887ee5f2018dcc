"""What the commands about models print."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from habla_ml.cli.models import print_scoreboard
from habla_ml.evaluation.report.scoreboard import scoreboard
from habla_ml.settings import AcceptableSettings
from habla_ml_tests.testing.full_comparison import make_full_comparison


@pytest.mark.parametrize("width", [80, 240])
def test_every_figure_is_whole_whatever_the_width(width: int) -> None:
    comparison, _ = make_full_comparison()
    rows = scoreboard(comparison, AcceptableSettings())
    screen = Console(file=io.StringIO(), width=width)
    print_scoreboard(screen, [each.name for each in comparison.models], rows)
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    assert all(cell.text in printed for row in rows for cell in row.cells)
    assert all(len(line) <= width for line in printed.splitlines())
