"""Commands about models: `compare`, `override`, `repeat`, `advise`, `export`, `complete-base-model` and `install-whisperx`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from habla_ml.api import export, open_deployment
from habla_ml.cli.context import print_line, print_progress, terminal
from habla_ml.cli.dagster_home import use_project_home
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import ReleaseError
from habla_ml.tables import print_table


def compare_command(
    entrants: Annotated[
        list[str], typer.Argument(help="Two or more: v2, base, a folder, v2@transformers, v2,beam_size=1, deepgram.")
    ],
    on: Annotated[str, typer.Option(help="`test`, a day like 2026-02-16, or a table of clips.")] = "test",
    measure_speed: Annotated[
        bool, typer.Option("--measure-speed", help="Time the models too; leave the machine alone meanwhile.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Compare versions, engines, options and quantisations on the same speech, in pairs."""
    from habla_ml.evaluation.report.scoreboard import build_scoreboard
    from habla_ml.evaluation.report.tables import build_scoreboard_table
    from habla_ml.evaluation.run import compare_models

    context = open_deployment(profile)
    speech, evaluation = compare_models(
        entrants, on, context.lake, context.settings, print_progress, measures_speed=measure_speed
    )
    comparison, test = evaluation.comparison, evaluation.comparison.test
    rows = build_scoreboard(comparison, context.settings.evaluation.acceptable)
    print_line(f"{speech.name}: {test.utterances} clips, {test.sessions} sessions, {test.words} words")
    print_table(terminal, build_scoreboard_table(comparison, rows))
    if speech.warning:
        print_line(speech.warning, style="yellow")
    print_line(f"Newly decoded clips: {evaluation.newly_decoded}. Report: {evaluation.files.html}")


def override_command(
    version: Annotated[str, typer.Argument(help="A model version that the promotion rule refuses, like v3.")],
    by: Annotated[str, typer.Option(help="Your name; it is stored and published with the release.")],
    reason: Annotated[str, typer.Option(help="One sentence: why the version is released despite the refusal.")],
    profile: Profile = None,
) -> None:
    """Sign the release of a refused version; the signature is valid for the current evidence only."""
    from habla_ml.evaluation.promotion.rule import decide
    from habla_ml.release.override import sign_override

    context = open_deployment(profile)
    rule = partial(decide, settings=context.settings.promotion)
    try:
        signed = sign_override(context.lake, version, by, reason, datetime.now(UTC), rule)
    except ValidationError as error:
        faults = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ReleaseError(f"nothing was signed ({faults}); give a name and one sentence as the reason") from error
    print_line(signed.to_sentence())
    print_line("The promotion rule refused it because:")
    for each in signed.against:
        print_line(f"- {each}")
    print_line(f"Materialise `cdn_release` for {version} to release it.")


def replicate_command(
    version: Annotated[str, typer.Argument(help="A trained model version, like v2.")],
    seeds: Annotated[int | None, typer.Option(min=1, max=20, help="How many more seeds; 2 without --percent.")] = None,
    percent: Annotated[
        list[int] | None, typer.Option(help="Train on this share of the sessions, for the learning curve; repeatable.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Train and score them now, one after another.")] = False,
    profile: Profile = None,
) -> None:
    """Train a version again with other seeds or fewer sessions, to measure chance and the value of more hours."""
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.jobs import TRAIN_REPLICATE
    from habla_ml.defs.models.replicates import train_replicates
    from habla_ml.defs.partitions import MODEL_VERSIONS
    from habla_ml.defs.runs import open_dagster_instance
    from habla_ml.training.replicate_plans import plan_next_replicates, plan_subset_runs

    context = open_deployment(profile)
    settings, lake = context.settings, context.lake
    use_project_home(settings)
    with open_dagster_instance() as instance:
        plans = plan_subset_runs(lake, version, percent, settings.work_folder) if percent else []
        if seeds or not percent:
            plans += plan_next_replicates(lake, version, seeds or 2, settings.work_folder)
        names = [plan.version for plan in plans]
        instance.add_dynamic_partitions(MODEL_VERSIONS, names)
        print_line(f"{', '.join(names)}: planned as {version}, apart from the seed or share in their names")
        if not run:
            print_line(
                f"In the UI launch the job {TRAIN_REPLICATE} for {', '.join(names)}, then materialise `wer_report` for "
                f"{version}; or run this command again with --run."
            )
            return
        train_replicates(build_definitions(settings), instance, version, names, print_progress)
    print_line(f"The report: {settings.work_folder / 'reports' / version / 'report.html'}")


def advise_command(profile: Profile = None) -> None:
    """Print whether to fine-tune, and the expected effect of more hours of corrected speech."""
    from habla_ml.evaluation.report.tables import build_forecast_table
    from habla_ml.evaluation.run import advise_now

    context = open_deployment(profile)
    advice = advise_now(context.lake, context.settings, print_progress)
    print_line(advice.headline, style="bold")
    for each in advice.reasons:
        print_line(f"- {each}")
    if advice.forecasts:
        print_table(terminal, build_forecast_table(advice))


def install_whisperx_command() -> None:
    """Install WhisperX into its own environment, so that it can be compared: about 8 GB, several minutes."""
    from habla_ml.transcription.whisperx import install_whisperx

    print_line(f"the engine whisperx runs in {install_whisperx(print_line)}")


def export_command(
    checkpoint: Annotated[Path, typer.Argument(help="A Whisper folder of Transformers.")],
    out: Annotated[Path, typer.Argument(help="The new file or folder.")],
    to: Annotated[str, typer.Option(help="The format: coreml, ctranslate2, ggml, onnx or transformers.")],
    quantisation: Annotated[str | None, typer.Option(help="The type of the weights; default as in a release.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The oldest system that loads it; default as in a release.")
    ] = None,
) -> None:
    """Convert a folder without a lake, as the export assets do, and print the measured parity."""
    converted = export(checkpoint, out, to, quantisation=quantisation, target=target, log=print_progress)
    for name, value in converted.details.get("parity", {}).items():
        print_line(f"{name}: {value:.4g}")
    print_line(f"{to} in {converted.details['quantisation']}: {out.resolve()}")


def complete_base_model_command(
    source: Annotated[str, typer.Argument(help="A folder, or a model of the hub like openai/whisper-small.")],
    out: Annotated[Path, typer.Argument(help="The new folder, for base_model in a recipe.")],
    revision: Annotated[str | None, typer.Option(help="Commit of the hub model.")] = None,
) -> None:
    """Complete a base model: one weights file, a tokenizer.json, and generation settings for Spanish."""
    from habla_ml.training.base_model import download_base_model
    from habla_ml.training.complete_base_model import SOURCE_FILES, complete_base_model

    folder = Path(source) if revision is None else download_base_model(source, revision, SOURCE_FILES)
    done = complete_base_model(folder, out)
    for each in done or ("the model was complete already",):
        print_line(each)
    print_line(f"base_model: {out.resolve()}")
