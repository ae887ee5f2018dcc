"""`habla-ml releases` and `rollback`: the releases of a channel."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from habla_ml.cli.context import Profile, open_context, print_line, print_rich_table

Channel = Annotated[str | None, typer.Option(help="Default release.channel.")]


def releases_command(profile: Profile = None, channel: Channel = None) -> None:
    """List the releases of a channel, newest first; an arrow marks the current one."""
    from habla_ml.release.publish import list_releases

    context = open_context(profile)
    table = Table("", "version", "model", "released", Column("url", overflow="fold"))
    for each in list_releases(context.release_store, channel or context.settings.release.channel):
        released = f"{each.released_at:%Y-%m-%dT%H:%M:%SZ}"
        table.add_row("→" if each.is_current else "", each.version, each.model_version, released, each.url)
    print_rich_table(table)


def rollback_command(
    to: Annotated[str | None, typer.Option(help="A released version; default the previous one.")] = None,
    profile: Profile = None,
    channel: Channel = None,
) -> None:
    """Move a channel's pointer back to an earlier release."""
    from habla_ml.release.publish import rollback

    context = open_context(profile)
    name = channel or context.settings.release.channel
    moved = rollback(context.release_store, name, to)
    print_line(f"{name} now points to {moved.version}: {moved.url}")
