"""`habla-ml gc`: remove what no pointer and no running process needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from habla_ml.api import open_deployment
from habla_ml.cli.context import print_labelled, print_line, terminal
from habla_ml.cli.profile_option import Profile
from habla_ml.tables import print_table


def cleanup_command(
    profile: Profile = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is due; without it nothing changes.")] = False,
) -> None:
    """Show what a cleanup would remove, and remove it with --delete."""
    from habla_ml.cleanup.run import clean_up, tabulate_groups

    context = open_deployment(profile)
    settings = context.settings
    report = clean_up(context.lake, context.release_store, settings, datetime.now(UTC), delete=delete)
    print_table(terminal, tabulate_groups(report.groups, settings.cleanup.grace_days))
    for each in report.problems:
        print_labelled("problem", each)
    if delete:
        print_line(f"removed {report.removed} of these, {report.removed_bytes / 1e6:,.1f} MB")
    else:
        print_line(f"nothing was removed; `{settings.command('gc', '--delete')}` removes what is due")
    if report.problems:
        raise typer.Exit(1)
