"""Tables as data, and their forms: Markdown and the terminal. `templates/table.html.j2` draws the same tables in HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

ThresholdStatus = Literal["met", "unsure", "missed"]
"""Whether a value is within its acceptable bound; `unsure` where the bound is inside the interval."""


@dataclass(frozen=True)
class IntervalBar:
    """A value with its interval on an axis that starts at 0; HTML draws it below the text of its cell."""

    low: float
    value: float
    high: float
    axis_end: float
    series: str = ""
    """CSS class of the model; a plain identifier."""
    reference: float | None = None
    """Another value on the same axis."""

    def position(self, value: float) -> str:
        """Return the position of a value in percent of the axis."""
        return f"{100 * min(max(value, 0.0), self.axis_end) / self.axis_end:.2f}"


_STATUS_LABELS: Final = {"met": "✓ met", "unsure": "≈ not sure", "missed": "✗ not met"}
_STATUS_STYLES: Final = {"met": "green", "unsure": "yellow", "missed": "red"}
_MARKDOWN_CHARACTERS: Final = re.compile(r"([\\`*_{}\[\]<>#|~&$]|^[-+]|(?<=:)//|(?<=www)\.)")
_SPACE: Final = re.compile(r"[^\S\u00a0]+")
"""Any white space but the non-breaking space."""
_UNLIMITED_WIDTH: Final = 10_000


@dataclass(frozen=True)
class TableCell:
    """One value."""

    text: str
    note: str = ""
    """Less important text after the value."""
    status: ThresholdStatus | None = None
    series: str = ""
    """CSS class of the model that the cell names; a plain identifier."""
    language: str = ""
    """BCP 47 tag of the text where it is not English."""
    help: str = ""
    """What the text means, for a reader who points at it."""
    bar: IntervalBar | None = None
    is_faint: bool = False
    """Whether the value allows no conclusion."""

    @property
    def status_label(self) -> str:
        """The status in words; empty without one."""
        return _STATUS_LABELS[self.status] if self.status else ""

    def join(self) -> str:
        """The cell as one line of plain text."""
        text = f"{self.text}, {self.status_label}" if self.status else self.text
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class TableColumn:
    """One column."""

    title: str
    is_numeric: bool = True
    """Whether its cells are aligned to the right."""
    series: str = ""
    """CSS class of the model that the column is about."""
    help: str = ""
    """What the title means, for a reader who points at it."""
    is_private: bool = False
    """Whether the cells hold spoken words, which must not leave the report."""


@dataclass(frozen=True)
class TextTable:
    """Rows of cells under columns; the first cell of a row names the row."""

    title: str
    """Accessible name; not drawn."""
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    is_public: bool = False
    """Whether the table without its private columns may leave the report: no spoken words, speakers or sessions."""

    @classmethod
    def of(
        cls,
        title: str,
        columns: Sequence[TableColumn | str],
        rows: Iterable[Sequence[TableCell | str]],
        *,
        is_public: bool = False,
    ) -> TextTable:
        """Build a table; a string is a plain cell, or a column that is numeric unless it is the first."""
        return cls(
            title,
            tuple(
                TableColumn(each, is_numeric=at > 0) if isinstance(each, str) else each
                for at, each in enumerate(columns)
            ),
            tuple(tuple(TableCell(each) if isinstance(each, str) else each for each in row) for row in rows),
            is_public,
        )

    def drop_private_columns(self) -> TextTable:
        """Return the table without the columns that hold spoken words."""
        kept = [at for at, each in enumerate(self.columns) if not each.is_private]
        return replace(
            self,
            columns=tuple(self.columns[at] for at in kept),
            rows=tuple(tuple(row[at] for at in kept) for row in self.rows),
        )

    @property
    def has_head(self) -> bool:
        """Whether any column has a title."""
        return any(each.title for each in self.columns)


def escape_markdown(text: str) -> str:
    """Return any text as one line of plain words in Markdown: nothing formats, links or ends a table cell."""
    return _MARKDOWN_CHARACTERS.sub(r"\\\1", _SPACE.sub(" ", text).strip(" "))


def render_markdown_table(table: TextTable) -> str:
    """Return the table in Markdown; empty without rows."""
    if not table.rows:
        return ""
    lines = [
        [escape_markdown(each.title) for each in table.columns],
        ["---:" if each.is_numeric else "---" for each in table.columns],
        *([escape_markdown(cell.join()) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def print_table(screen: Console, table: TextTable) -> None:
    """Print the table; where the terminal is too narrow, each row becomes a block of lines."""
    wide = _build_wide_table(table)
    fits = screen.measure(wide, options=screen.options.update(width=_UNLIMITED_WIDTH)).maximum <= screen.width
    screen.print(wide if fits else _build_stacked_table(table), soft_wrap=False)


def _build_wide_table(table: TextTable) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for column in table.columns:
        drawn.add_column(Text(column.title), justify="right" if column.is_numeric else "left")
    for row in table.rows:
        drawn.add_row(*map(_style_cell, row))
    return drawn


def _build_stacked_table(table: TextTable) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table("", "", box=box.SIMPLE, show_header=False)
    for row in table.rows:
        drawn.add_row(_style_cell(row[0]), "", style="bold")
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            drawn.add_row(Text(f"  {column.title}"), _style_cell(cell))
    return drawn


def _style_cell(cell: TableCell) -> Text:
    from rich.text import Text

    return Text(cell.join(), style=_STATUS_STYLES[cell.status] if cell.status else "")
