"""`habla-ml account`: invite people to the pages, list them, and end an account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, print_json, print_line, print_rich_table
from habla_ml.cli.profile_option import Profile

account_app = typer.Typer(no_args_is_help=True, help="The accounts of the service's pages.")


@account_app.command("invite")
def invite_command(
    right: Annotated[list[str], typer.Option(help="A right: correct, consents, release or admin; repeat for more.")],
    days: Annotated[int, typer.Option(min=1, max=90, help="Days until the code expires.")] = 7,
    profile: Profile = None,
) -> None:
    """Print a code with which one person makes an account."""
    from habla_ml.inbox.accounts import invite
    from habla_ml.inbox.database import open_database

    settings = open_deployment(profile).settings
    code = invite(open_database(settings), right, datetime.now(UTC), timedelta(days=days))
    print_line(f"code: {code}")
    print_line(f"page: {settings.service.address}/join")
    print_line(
        f"The code works once, for {days} {'day' if days == 1 else 'days'}. It is not kept; give it to the person now."
    )


@account_app.command("list")
def list_command(as_json: AsJson = False, profile: Profile = None) -> None:
    """Print the accounts with their rights."""
    from habla_ml.inbox.accounts import list_accounts
    from habla_ml.inbox.database import open_database

    settings = open_deployment(profile).settings
    accounts = list_accounts(open_database(settings))
    if as_json:
        print_json([{"name": each.name, "rights": each.rights, "disabled_at": each.disabled_at} for each in accounts])
        return
    table = Table("name", "rights", "state")
    for each in accounts:
        state = "active" if each.disabled_at is None else f"disabled since {settings.format_day(each.disabled_at)}"
        table.add_row(each.name, ", ".join(sorted(each.rights)), state)
    print_rich_table(table)


@account_app.command("disable")
def disable_command(name: Annotated[str, typer.Argument(help="Name of the account.")], profile: Profile = None) -> None:
    """Disable an account and end its sessions; its corrections stay."""
    from habla_ml.inbox.accounts import disable_account
    from habla_ml.inbox.database import open_database

    disable_account(open_database(open_deployment(profile).settings), name, datetime.now(UTC))
    print_line(f"{name} cannot sign in any more")
