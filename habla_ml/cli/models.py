"""`habla-ml compare`, `override`, `advise`, `repeat`: models side by side, what a person decides, whether to train."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from habla_ml.errors import ReleaseError
from habla_ml.settings import load_settings
from habla_ml.tables import print_table

console = Console()


Profile = Annotated[str | None, typer.Option("--profile", "-p", help="As for every command.")]


def compare_command(
    entrants: Annotated[
        list[str],
        typer.Argument(help="Two or more: v2, base, a folder, v2@transformers, v2,beam_size=1, deepgram."),
    ],
    on: Annotated[str, typer.Option(help="`test`, a day like 2026-02-16, or a table of clips.")] = "test",
    profile: Profile = None,
) -> None:
    """Put versions, engines, options and quantisations beside each other on the same speech, paired."""
    import platform

    from habla_ml.evaluation.compare_models import compare_models
    from habla_ml.evaluation.report.scoreboard import scoreboard
    from habla_ml.evaluation.report.tables import build_scoreboard_table
    from habla_ml.lake.factory import open_lake

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    today = f"{datetime.now(settings.zone):%Y-%m-%d}"
    hardware = f"{platform.machine()}, {platform.system()}"
    held = compare_models(
        entrants, on, lake, settings, today, lambda line: console.print(line, style="dim"), hardware
    )
    rows = scoreboard(held.comparison, settings.evaluation.acceptable)
    test = held.comparison.test
    console.print(
        f"{held.test_speech.name}: {test.utterances} clips, {test.sessions} sessions, {test.words} words"
    )
    print_table(console, build_scoreboard_table(held.comparison, rows))
    if held.test_speech.warning:
        console.print(held.test_speech.warning, style="yellow")
    console.print(f"{held.decoded} clips were decoded now. The report: {held.files.html}", soft_wrap=True)


def override_command(
    version: Annotated[str, typer.Argument(help="A model version that the rule refuses, like v3.")],
    by: Annotated[str, typer.Option(help="Your name; it is stored and published with the release.")],
    reason: Annotated[str, typer.Option(help="Why it shall be released all the same, in a sentence.")],
    profile: Profile = None,
) -> None:
    """Sign that a refused version may be released; it holds for the evidence as it stands now."""
    from habla_ml.evaluation.promotion.rule import decide
    from habla_ml.lake.factory import open_lake
    from habla_ml.release.override import sign_override

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    rule = partial(decide, settings=settings.promotion)
    try:
        signed = sign_override(lake, version, by, reason, datetime.now(UTC), rule)
    except ValidationError as error:
        faults = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ReleaseError(f"nothing was signed ({faults}); a decision needs a name and a sentence why") from error
    console.print(signed.to_sentence(), highlight=False)
    console.print("The rule had said:", highlight=False)
    for each in signed.against:
        console.print(f"- {each}", highlight=False)
    console.print(f"Materialise `cdn_release` for {version} to release it.", highlight=False)


def replicate_command(
    version: Annotated[str, typer.Argument(help="A trained model version, like v2.")],
    seeds: Annotated[
        int | None, typer.Option(min=1, max=20, help="How many more seeds, besides its own; 2 without --percent.")
    ] = None,
    percent: Annotated[
        list[int] | None,
        typer.Option(help="Train on so much of its sessions, for the learning curve; may repeat."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Train and score them here and now, one after another.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Train a version again with other seeds, or on parts of its sessions: what chance moves, and what hours buy."""
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.jobs import TRAIN_REPLICATE
    from habla_ml.defs.models.replicates import register_replicates, train_replicates
    from habla_ml.defs.runs import open_dagster_instance
    from habla_ml.lake.factory import open_lake
    from habla_ml.training.replicate_plans import plan_next_replicates, plan_subset_runs

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    with open_dagster_instance() as instance:
        plans = plan_subset_runs(lake, version, percent, settings.work_folder) if percent else []
        if seeds or not percent:
            plans += plan_next_replicates(lake, version, seeds or 2, settings.work_folder)
        names = [plan.version for plan in plans]
        register_replicates(instance, names)
        console.print(
            f"{', '.join(names)}: planned, each as {version} but for what its name says", highlight=False
        )
        if not run:
            console.print(
                f"In the UI launch the job {TRAIN_REPLICATE} for {', '.join(names)}, then materialise `wer_report` for "
                f"{version}; or run this command again with --run.",
                highlight=False,
                soft_wrap=True,
            )
            return
        log = partial(console.print, style="dim", highlight=False)
        train_replicates(build_definitions(settings), instance, version, names, log)
    console.print(f"The report: {settings.work_folder / 'reports' / version / 'report.html'}", soft_wrap=True)


def advise_command(profile: Profile = None) -> None:
    """Say whether to fine-tune, and what more hours of corrected speech are expected to buy."""
    from habla_ml.evaluation.promotion.advice_inputs import advise_now
    from habla_ml.evaluation.report.tables import build_forecast_table
    from habla_ml.lake.factory import open_lake

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    advice = advise_now(lake, settings, lambda line: console.print(line, style="dim"))
    console.print(advice.headline, style="bold", highlight=False, markup=False, soft_wrap=True)
    for each in advice.reasons:
        console.print(f"- {each}", highlight=False, markup=False, soft_wrap=True)
    if advice.forecasts:
        print_table(console, build_forecast_table(advice))
