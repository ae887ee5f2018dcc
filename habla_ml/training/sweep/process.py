"""The sweep's process: command line and Dagster Pipes around `run_sweep`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from habla_ml.corpus.snapshot import load_latest_snapshot, load_snapshot
from habla_ml.errors import SettingsError
from habla_ml.lake import compute_digest
from habla_ml.lake.factory import open_lake
from habla_ml.settings import load_settings
from habla_ml.tables import print_table
from habla_ml.training.extra_speech import read_extra_speech
from habla_ml.training.process import prepare_process, report_errors
from habla_ml.training.recipe import load_recipe
from habla_ml.training.start import choose_start, import_start
from habla_ml.training.sweep.results import RECIPE_FILE, TABLE_FILE, SweepResult, build_results_table
from habla_ml.training.sweep.space import load_space
from habla_ml.training.sweep.study import require_optuna, run_sweep
from habla_ml.training.sweep.trial import SweepInputs
from habla_ml.training.termination import PIPES_VARIABLE
from habla_ml.training.time_limit import require_time
from habla_ml.training.train import lock_work_folder
from habla_ml.training.trainer import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep; returns the exit codes of `training.process.main`."""
    options = _build_parser().parse_args(arguments)
    prepare_process(die_with_its_parent=False)
    act = _sweep_in_pipes if PIPES_VARIABLE in os.environ else _sweep_in_terminal
    return report_errors(lambda: act(options), Path("the work folder"))


def _sweep_in_terminal(options: argparse.Namespace) -> None:
    from rich.console import Console

    result, folder = _sweep(options, lambda progress: print(progress.message, flush=True))
    print_table(Console(), build_results_table(result))
    print(f"All trials: {folder / TABLE_FILE}")
    print(f"The best recipe, for training.recipe in the settings: {folder / RECIPE_FILE}")


def _sweep_in_pipes(options: argparse.Namespace) -> None:
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as context:
        result, folder = _sweep(options, lambda progress: context.log.info(progress.message))
        context.report_asset_materialization(
            metadata={"folder": {"type": "path", "raw_value": str(folder)}},
            data_version=compute_digest(result.model_dump(mode="json", exclude={"trials": {"__all__": {"wall_s"}}})),
        )


def _sweep(options: argparse.Namespace, report_progress: Callable[[Progress], None]) -> tuple[SweepResult, Path]:
    """Run or resume the sweep of the options; return its result and folder."""
    require_optuna()
    settings = load_settings(options.settings or options.profile)
    recipe = load_recipe(options.recipe or settings.training.recipe)
    space_file = options.space or settings.training.search_space
    if space_file is None:
        raise SettingsError(
            "there is no search space; pass --space with a file, such as configs/search_spaces/learning_rate.yaml, or set "
            "training.search_space"
        )
    space = load_space(space_file)
    space.check(recipe, str(space_file))
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    snapshot = load_latest_snapshot(lake) if options.snapshot is None else load_snapshot(lake, options.snapshot)
    start = choose_start(settings)
    if start is not None and (recipe.start is not None or recipe.first_stage is not None):
        raise SettingsError(
            f"training.continue_from is set, but recipe {recipe.name} has a section start or first_stage itself; remove one "
            "of them"
        )
    import_start(lake, recipe.model_copy(update={"start": start or recipe.start}), settings)
    extra_speech = read_extra_speech(lake, snapshot, recipe, settings)
    inputs = SweepInputs(lake, snapshot, recipe, start, extra_speech, settings.work_folder)
    _, identity = inputs.identify(inputs.add_start(recipe))
    digest = compute_digest([identity.digest, space.digest])
    inputs = replace(inputs, folder=settings.work_folder / "training" / f"sweep-{recipe.name}-{digest[:8]}")

    def report(progress: Progress) -> None:
        report_progress(progress)
        if progress.estimate is not None:
            require_time(progress.estimate, recipe, settings.training.limit_h)

    with lock_work_folder(inputs.folder):
        report(Progress(f"sweep in {inputs.folder}"))
        return run_sweep(inputs, space, report), inputs.folder


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m habla_ml.training.sweep", description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--profile", help="name of a profile in configs/; default: HABLA_PROFILE, or local")
    which.add_argument("--settings", type=Path, help="path of a settings file")
    parser.add_argument("--recipe", type=Path, help="recipe whose keys are changed; default: that of the settings")
    parser.add_argument("--space", type=Path, help="what to search; default: training.search_space of the settings")
    parser.add_argument("--snapshot", help="id that `splits` published; default: the newest")
    return parser
