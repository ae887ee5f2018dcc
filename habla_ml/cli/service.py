"""`habla-ml serve` and `habla-ml device`: run the service, and decide which devices may send to it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from rich.table import Table

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, error_terminal, print_json, print_labelled, print_line, print_rich_table
from habla_ml.cli.profile_option import Profile

device_app: Final = typer.Typer(no_args_is_help=True, help="Devices that send clips and corrections.")

_ID_LENGTH: Final = 36


def serve_command(profile: Profile = None) -> None:
    """Run the service that receives clips, corrections and consents, and shows the pages."""
    from habla_ml.service.server import PROFILE_VARIABLE, find_exposure_warnings, open_listener, run_server

    settings = open_deployment(profile).settings
    service = settings.service
    if profile is not None:
        os.environ[PROFILE_VARIABLE] = profile
    for each in find_exposure_warnings(service):
        error_terminal.print(f"warning: {each}", style="yellow")
    with open_listener(service.host, service.port) as listener:
        host = f"[{service.host}]" if ":" in service.host else service.host
        print_line(f"serving at http://{host}:{service.port} (Ctrl+C ends it)")
        if service.public_url is not None:
            print_line(f"people and apps use {service.public_url}")
        run_server(settings, listener)
    print_line("ended; every acknowledged request is stored")


@device_app.command("enrol")
def enrol_command(
    label: Annotated[str, typer.Argument(help="A name for the device, such as `tablet of class 3`; no person's name.")],
    profile: Profile = None,
) -> None:
    """Print a code that enrols one device. It is valid for `service.enrolment_code_hours`."""
    from habla_ml.inbox.database import open_database
    from habla_ml.inbox.devices import create_enrolment_code

    settings = open_deployment(profile).settings
    hours = settings.service.enrolment_code_hours
    database = open_database(settings)
    code = create_enrolment_code(database, label, datetime.now(UTC), timedelta(hours=hours))
    database.close()
    print_line(code)
    print_line(f"valid for {hours:g} hours and one device; type it in the app", style="dim")


@device_app.command("list")
def list_command(as_json: AsJson = False, profile: Profile = None) -> None:
    """Print the devices, the oldest first."""
    from habla_ml.inbox.database import open_database
    from habla_ml.inbox.devices import list_devices

    settings, now = open_deployment(profile).settings, datetime.now(UTC)
    database = open_database(settings)
    # An id of 36 characters and two days fit into 80 columns only without lines between them.
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("device", no_wrap=True, min_width=_ID_LENGTH)
    for title in ("label", "state", "expires", "last seen"):
        table.add_column(title, min_width=None if title == "label" else len("YYYY-MM-DD"))
    devices = list_devices(database)
    if as_json:
        database.close()
        print_json(
            [
                {
                    "device": each.device.device_id,
                    "label": each.device.label,
                    "state": each.describe_state(now),
                    "expires_at": each.expires_at,
                    "last_seen_at": each.last_seen_at,
                }
                for each in devices
            ]
        )
        return
    for each in devices:
        times = (
            "–" if moment is None else settings.format_day(moment) for moment in (each.expires_at, each.last_seen_at)
        )
        table.add_row(each.device.device_id, each.device.label, each.describe_state(now), *times)
    database.close()
    if table.row_count == 0:
        print_line(f"no device is enrolled; `{settings.command('device', 'enrol', 'LABEL')}` prints a code for one")
        return
    print_rich_table(table)


@device_app.command("revoke")
def revoke_command(
    device_id: Annotated[str, typer.Argument(help="The id that `habla-ml device list` prints.")],
    profile: Profile = None,
) -> None:
    """Make a device's token invalid at once, such as that of a lost phone. What it sent is kept."""
    from habla_ml.inbox.database import open_database
    from habla_ml.inbox.devices import revoke_device

    database = open_database(open_deployment(profile).settings)
    revoked = revoke_device(database, device_id, datetime.now(UTC))
    database.close()
    print_labelled("revoked", f"{revoked.device.label} ({device_id})")
