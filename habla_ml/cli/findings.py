"""How `doctor` and `status` print findings: one line each with its mark, and the next step below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from habla_ml.cli.context import terminal
from habla_ml.monitoring.finding import Finding

if TYPE_CHECKING:
    from habla_ml.monitoring.finding import Health

_MARKS: Final[dict[Health, tuple[str, str]]] = {
    "ok": ("✓", "green"),
    "note": ("·", "yellow"),
    "wrong": ("✗", "bold red"),
}


def sort_by_health(findings: Iterable[Finding]) -> list[Finding]:
    """Return the faults first, then the notes, each in their order."""
    return sorted(findings, key=lambda each: ("wrong", "note", "ok").index(each.health))


def measure_subjects(findings: Iterable[Finding]) -> int:
    """Return the width of the column of subjects."""
    return max((len(each.subject) for each in findings), default=0)


def print_findings(findings: Sequence[Finding], width: int) -> None:
    """Print findings within the width of the terminal; long paths continue on the next line, and nothing is cut off.

    `width` is that of the subjects, in characters.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(min_width=width, no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        found = Text(each.found)
        if each.next_step:
            found.append(f"\n→ {each.next_step}", "cyan" if each.health == "wrong" else "dim")
        table.add_row(Text(*_MARKS[each.health]), each.subject, found)
    terminal.print(table, soft_wrap=False)
