"""The command `train`: a model version without Dagster, or an estimate of what it needs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from habla_ml.cli.context import Profile, open_context
from habla_ml.settings import save_settings


def train_command(
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
    from habla_ml.training.launch.command import build_command
    from habla_ml.training.process import main

    settings = open_context(profile).settings
    out = settings.work_folder / "training" / (version or "estimate")
    words = ["--settings", str(save_settings(settings, settings.work_folder / "settings")), "--out", str(out)]
    for name, value in (("--version", version), ("--snapshot", snapshot), ("--recipe", recipe)):
        words += [] if value is None else [name, str(value)]
    words += ["--estimate"] if estimate else []
    words += ["--again"] if again else []
    is_here = settings.training.launch.where == "here"
    if code := main(words) if is_here else subprocess.run(build_command(settings, words), check=False).returncode:
        raise typer.Exit(code)
