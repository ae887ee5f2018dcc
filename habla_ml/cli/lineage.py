"""`habla-ml lineage`: what a recording led to, and what a version or a release came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text
from rich.tree import Tree

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, error_terminal, print_json, terminal
from habla_ml.cli.profile_option import Profile

if TYPE_CHECKING:
    from habla_ml.lineage.node import Detail, LineageNode

_UNLIMITED_WIDTH: Final = 100_000


def lineage_command(
    subject: Annotated[
        str, typer.Argument(help="Id of a segment, name of a session, a model version or a release (2026.11.21-v2).")
    ],
    day: Annotated[str | None, typer.Option(help="Day of the recording, YYYY-MM-DD; saves a search.")] = None,
    segments: Annotated[bool, typer.Option("--segments", help="List the segments of the sessions too.")] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="Follow the same sound on other days too; reads each snapshot whole.")
    ] = False,
    sessions: Annotated[int, typer.Option(min=0, help="Most sessions to list for each snapshot.")] = 50,
    search_days: Annotated[int, typer.Option(min=1, help="Most days to search, the newest first.")] = 400,
    as_json: AsJson = False,
    profile: Profile = None,
) -> None:
    """Show every snapshot, version and release that used a recording, or what a version or a release came from.

    No transcript and no speaker is printed.
    """
    from habla_ml.lineage.node import LineageBounds
    from habla_ml.lineage.trace import trace_lineage

    context = open_deployment(profile)
    bounds = LineageBounds(day, search_days, sessions, segments, copies)
    found = trace_lineage(context.lake, context.release_store, subject, bounds)
    if as_json:
        print_json(found.to_json())
        return
    for root in found.roots:
        # A line for each thing where another program reads it; otherwise lines are folded inside the tree.
        width = None if terminal.is_terminal else _UNLIMITED_WIDTH
        terminal.print(_build_tree(root, Tree(_describe(root))), soft_wrap=False, width=width)
    error_terminal.print(str(found.cost), style="dim")


def _build_tree(node: LineageNode, drawn: Tree) -> Tree:
    for each in node.below:
        _build_tree(each, drawn.add(_describe(each)))
    return drawn


def _describe(node: LineageNode) -> Text:
    """Return a line: kind and id, then the details that are not empty."""
    shown = (_format_detail(name, value) for name, value in node.details.items())
    return Text.assemble(
        (node.kind, "cyan"),
        " ",
        (node.id, "bold"),
        "  ",
        (", ".join(each for each in shown if each), "dim"),
        overflow="fold",
    )


def _format_detail(name: str, value: Detail) -> str:
    label = name.removeprefix("is_").removeprefix("has_").replace("_", " ")
    if value is None or value is False or value == []:
        return ""
    if value is True:
        return label
    if isinstance(value, list | tuple):
        return f"{label} {' '.join(value)}"
    return f"{label} {value}"
