"""What every command shares: plain output.

Texts can contain brackets and colons, as in `[risas]` or a path. The terminals print them as they are, without
markup, emoji codes or line breaks, so that a printed path or command can be copied.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from habla_ml.cli.profile_option import name_given_profile

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
terminal: Final = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
error_terminal: Final = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_line(text: str, style: str = "") -> None:
    """Print a line as it is, but for the profile in the commands that it names."""
    terminal.print(name_given_profile(text), style=style)


def print_progress(text: str) -> None:
    """Print a line about work in progress, dimmed."""
    terminal.print(text, style="dim")


def print_labelled(label: str, text: str, style: str = "yellow") -> None:
    """Print a line with a coloured label in front, with the profile in the commands that it names."""
    terminal.print(Text.assemble((label, style), " ", name_given_profile(text)))


def print_json(value: object) -> None:
    """Print a value as JSON, with escapes where the terminal is not in Unicode; times in ISO 8601, sets sorted."""
    is_unicode = (getattr(terminal.file, "encoding", None) or "utf-8").lower().startswith("utf")
    terminal.print(json.dumps(value, ensure_ascii=not is_unicode, indent=1, default=_to_json))


def _to_json(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def print_rich_table(table: Table) -> None:
    """Print a table, fitted to the width of the terminal."""
    terminal.print(table, soft_wrap=False)
