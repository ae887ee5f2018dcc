"""`habla-ml`: what a person does in a terminal; everything else happens in the Dagster UI."""

from __future__ import annotations

import io
import os
import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.text import Text

from habla_ml.cli.accounts import account_app
from habla_ml.cli.backup import backup_app, fsck_command, restore_command
from habla_ml.cli.cleanup import cleanup_command
from habla_ml.cli.context import error_terminal, terminal
from habla_ml.cli.corpus import conventions_app, export_dataset_command, import_command
from habla_ml.cli.doctor import doctor_command
from habla_ml.cli.environment_file import load_environment_file
from habla_ml.cli.erasure import erase_command
from habla_ml.cli.hub import hub_command
from habla_ml.cli.keys import keys_app
from habla_ml.cli.label_studio import label_studio_app
from habla_ml.cli.lineage import lineage_command
from habla_ml.cli.models import (
    advise_command,
    compare_command,
    complete_base_model_command,
    export_command,
    install_whisperx_command,
    override_command,
    replicate_command,
)
from habla_ml.cli.profile_option import name_given_profile
from habla_ml.cli.project import demo_command, dev_command, init_command
from habla_ml.cli.releases import (
    promote_command,
    releases_command,
    renew_command,
    rollback_command,
    rollout_command,
)
from habla_ml.cli.review import review_command
from habla_ml.cli.service import device_app, serve_command
from habla_ml.cli.status import status_command
from habla_ml.cli.training import sweep_command, train_app
from habla_ml.cli.transcribe import transcribe_command
from habla_ml.cli.update_model import update_model_command
from habla_ml.errors import HablaError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
# In the order of the help: begin, data, models, releases, service, operation.
app.command("init")(init_command)
app.command("demo")(demo_command)
app.command("dev")(dev_command)
app.command("doctor")(doctor_command)
app.command("status")(status_command)
app.command("import")(import_command)
app.command("review")(review_command)
app.add_typer(label_studio_app, name="label-studio")
app.add_typer(conventions_app, name="conventions")
app.command("export-dataset")(export_dataset_command)
app.command("advise")(advise_command)
app.add_typer(train_app, name="train")
app.command("sweep")(sweep_command)
app.command("repeat")(replicate_command)
app.command("compare")(compare_command)
app.command("transcribe")(transcribe_command)
app.command("export")(export_command)
app.command("complete-base-model")(complete_base_model_command)
app.command("hub")(hub_command)
app.command("override")(override_command)
app.command("releases")(releases_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("rollout")(rollout_command)
app.command("renew")(renew_command)
app.command("update-model")(update_model_command)
app.add_typer(keys_app, name="keys")
app.command("serve")(serve_command)
app.add_typer(account_app, name="account")
app.add_typer(device_app, name="device")
app.command("lineage")(lineage_command)
app.command("erase")(erase_command)
app.add_typer(backup_app, name="backup")
app.command("restore")(restore_command)
app.command("fsck")(fsck_command)
app.command("gc")(cleanup_command)
app.command("install-whisperx")(install_whisperx_command)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        terminal.print(f"habla_ml {metadata.version('habla-ml')}")
        raise typer.Exit


@app.callback(help=__doc__)
def describe_program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options of the program itself."""


def main() -> None:
    """Run a command; an error of the project, or of a file, prints its message without a traceback and exits with 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without a letter or an arrow must not end an erasure or a backup in the middle.
            stream.reconfigure(errors="backslashreplace")
    try:
        load_environment_file()
        app()
    except HablaError as error:
        _print_error(f"{type(error).__name__}: {name_given_profile(str(error))}")
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        place = os.fsdecode(error.filename)
        _print_error(f"{place}: {error.strerror}; check the path, its permissions and the free space")
        sys.exit(1)


def _print_error(text: str) -> None:
    error_terminal.print(Text.assemble(("error", "red"), f" {text}"))
