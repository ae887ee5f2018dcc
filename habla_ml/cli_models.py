"""`habla-ml compare`, `override`, `advise`, `repeat`: models side by side, what a person decides, whether to train."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from habla_ml.errors import ReleaseError
from habla_ml.settings import load_settings

console = Console()
_MARKS = {"met": "✓ ", "missed": "✗ ", "unsure": "? ", None: ""}


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

    from habla_ml.contest.run import hold_contest
    from habla_ml.evaluation.report.scoreboard import scoreboard
    from habla_ml.lake.open import open_lake

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    today = f"{datetime.now(settings.zone):%Y-%m-%d}"
    hardware = f"{platform.machine()}, {platform.system()}"
    held = hold_contest(
        entrants, on, lake, settings, today, lambda line: console.print(line, style="dim"), hardware
    )
    names = [model.name for model in held.comparison.models]
    table = Table("", "acceptable", *names, "better")
    for row in scoreboard(held.comparison, settings.evaluation.acceptable):
        if row.is_measured:
            cells = (f"{_MARKS[cell.standing]}{cell.text}" for cell in row.cells)
            table.add_row(row.metric, row.bound, *cells, row.winner)
    test = held.comparison.test
    console.print(f"{held.place.name}: {test.utterances} clips, {test.sessions} sessions, {test.words} words")
    console.print(table)
    if held.place.warning:
        console.print(held.place.warning, style="yellow")
    console.print(f"{held.decoded} clips were decoded now. The report: {held.files.html}", soft_wrap=True)


def override_command(
    version: Annotated[str, typer.Argument(help="A model version that the rule refuses, like v3.")],
    by: Annotated[str, typer.Option(help="Your name; it is stored and published with the release.")],
    reason: Annotated[str, typer.Option(help="Why it shall be released all the same, in a sentence.")],
    profile: Profile = None,
) -> None:
    """Sign that a refused version may be released; it holds for the evidence as it stands now."""
    from habla_ml.evaluation.promotion import decide
    from habla_ml.lake.open import open_lake
    from habla_ml.release.override import sign_override

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    rule = partial(decide, settings=settings.promotion)
    try:
        signed = sign_override(lake, version, by, reason, datetime.now(UTC), rule)
    except ValidationError as error:
        faults = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ReleaseError(f"nothing was signed ({faults}); a decision needs a name and a sentence why") from error
    console.print(signed.sentence(), highlight=False)
    console.print("The rule had said:", highlight=False)
    for each in signed.against:
        console.print(f"- {each}", highlight=False)
    console.print(f"Materialise `cdn_release` for {version} to release it.", highlight=False)


def repeat_command(
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
    from habla_ml.defs.jobs import REPEAT
    from habla_ml.defs.repeats import show_repeats, train_repeats
    from habla_ml.defs.runs import deployed_instance
    from habla_ml.lake.open import open_lake
    from habla_ml.training.seeds import plan_more_seeds, plan_parts

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    with deployed_instance() as instance:
        plans = plan_parts(lake, version, percent, settings.work_folder) if percent else []
        if seeds or not percent:
            plans += plan_more_seeds(lake, version, seeds or 2, settings.work_folder)
        names = [plan.version for plan in plans]
        show_repeats(instance, names)
        console.print(
            f"{', '.join(names)}: planned, each as {version} but for what its name says", highlight=False
        )
        if not run:
            console.print(
                f"In the UI launch the job {REPEAT} for {', '.join(names)}, then materialise `wer_report` for "
                f"{version}; or run this command again with --run.",
                highlight=False,
                soft_wrap=True,
            )
            return
        tell = partial(console.print, style="dim", highlight=False)
        train_repeats(build_definitions(settings), instance, version, names, tell)
    console.print(f"The report: {settings.work_folder / 'reports' / version / 'report.html'}", soft_wrap=True)


def advise_command(profile: Profile = None) -> None:
    """Say whether to fine-tune, and what more hours of corrected speech are expected to buy."""
    from habla_ml.lake.open import open_lake
    from habla_ml.release.advice import advise_now

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    advice = advise_now(lake, settings, lambda line: console.print(line, style="dim"))
    console.print(advice.headline, style="bold", highlight=False, markup=False, soft_wrap=True)
    for each in advice.reasons:
        console.print(f"- {each}", highlight=False, markup=False, soft_wrap=True)
    if not advice.forecasts:
        return
    worth = f"{100 * settings.advice.worth_removing:.0f} %"
    table = Table("more hours", "to train on", "WER %", "errors removed %", f"chance of {worth} or more")
    for row in advice.forecasts:
        table.add_row(
            f"+{row.more_hours:g}",
            f"{row.hours:.1f} h",
            *(
                f"{100 * each.value:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})"
                for each in (row.wer, row.reduction)
            ),
            row.chance,
        )
    console.print(table)
