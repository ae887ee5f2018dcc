"""The commands `train` and `sweep`: trainings without Dagster, estimates of what they need, and bundles for other machines."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from habla_ml.api import open_deployment
from habla_ml.cli.context import print_line, print_progress
from habla_ml.cli.profile_option import Profile
from habla_ml.settings import save_settings

train_app = typer.Typer(invoke_without_command=True)


@train_app.callback()
def train_command(
    context: typer.Context,
    version: Annotated[str | None, typer.Option(help="The model version, like v3; optional with --estimate.")] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Time a few steps and print what a training needs.")
    ] = False,
    snapshot: Annotated[str | None, typer.Option(help="Default: the version's own, or the newest.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Default: the version's own, or that of the settings.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train from the start where other code, packages or another machine differ.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Train a version without Dagster, where `training.launch` says; the same command resumes it. Or estimate time and memory."""
    if context.invoked_subcommand is not None:
        return
    if version is None and not estimate:
        raise typer.BadParameter("give --version, such as v3, or --estimate")
    from habla_ml.training.launch.command import build_command
    from habla_ml.training.process import main

    settings = open_deployment(profile).settings
    out = settings.work_folder / "training" / (version or "estimate")
    words = ["--settings", str(save_settings(settings, settings.work_folder / "settings")), "--out", str(out)]
    for name, value in (("--version", version), ("--snapshot", snapshot), ("--recipe", recipe)):
        words += [] if value is None else [name, str(value)]
    words += ["--estimate"] if estimate else []
    words += ["--again"] if again else []
    is_here = settings.training.launch.where == "here"
    if code := main(words) if is_here else subprocess.run(build_command(settings, words), check=False).returncode:
        raise typer.Exit(code)


@train_app.command("bundle")
def bundle_command(
    version: Annotated[str, typer.Argument(help="The model version, like v3.")],
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet.")],
    profile: Profile = None,
) -> None:
    """Write everything for a training on another machine to a folder: it contains voices."""
    from habla_ml.consent.admission import load_consents
    from habla_ml.training.bundle.create import create_bundle

    opened = open_deployment(profile)
    consents = load_consents(opened.settings, datetime.now(UTC))
    manifest = create_bundle(opened.lake, opened.settings, version, to, consents, print_progress)
    size_gb = sum(each.size_bytes for each in manifest.files.values()) / 1e9
    print_line(f"{to}: {len(manifest.files)} files, {size_gb:.2f} GB. Read its README.md, then run train.sh there")


@train_app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder, with bundle.json and result.")],
    profile: Profile = None,
) -> None:
    """Check the result of a bundle and publish it as if it had been trained here."""
    from habla_ml.consent.admission import load_consents
    from habla_ml.training.bundle.result import import_bundle

    opened = open_deployment(profile)
    consents = load_consents(opened.settings, datetime.now(UTC))
    record = import_bundle(opened.lake, opened.settings, folder, consents, print_progress)
    print_line(f"{record.version}: validation WER {record.best.wer:.1%} at step {record.best_step}")


def sweep_command(
    recipe: Annotated[
        Path | None, typer.Argument(help="The recipe whose keys are changed; default: that of the settings.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="What to search, as YAML; default: training.search_space of the settings.")
    ] = None,
    snapshot: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    profile: Profile = None,
) -> None:
    """Search recipe keys by many trainings on this machine, compared on the validation split; the same command resumes it."""
    from habla_ml.training.sweep.process import main

    settings = open_deployment(profile).settings
    words = ["--settings", str(save_settings(settings, settings.work_folder / "settings"))]
    for name, value in (("--recipe", recipe), ("--space", space), ("--snapshot", snapshot)):
        words += [] if value is None else [name, str(value)]
    if code := main(words):
        raise typer.Exit(code)
