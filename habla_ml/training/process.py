"""The training process: command line and Dagster Pipes around `train_version`.

From a terminal it prints its progress. From Dagster (Pipes sets `DAGSTER_PIPES_CONTEXT`) it reports the progress to the
run, materialises the asset at the end, and ends with its parent process.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from habla_ml.corpus.snapshot import Snapshot, load_latest_snapshot, load_snapshot
from habla_ml.errors import HablaError, classify_fault
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake
from habla_ml.process import die_with_parent, keep_freed_memory, let_waiting_threads_sleep
from habla_ml.settings import Settings, load_settings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT
from habla_ml.training.extra_speech import ExtraSpeech, read_extra_speech
from habla_ml.training.faults import RESUME, explain_fault
from habla_ml.training.follow import train_together
from habla_ml.training.plan import (
    VersionPlan,
    check_planned_inputs,
    find_plan,
    pin_plan,
    propose_plan,
    write_recipe_file,
)
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import TrainingRecord
from habla_ml.training.run import RunFolder
from habla_ml.training.start import choose_start, import_start
from habla_ml.training.termination import PIPES_VARIABLE, raise_on_termination
from habla_ml.training.time_limit import estimate_version, require_time
from habla_ml.training.trackers import open_trackers, require_trackers
from habla_ml.training.train import train_version
from habla_ml.training.trainer import Progress
from habla_ml.training.world import await_launcher, describe_process, is_lost_process, read_world

_UNNAMED: Final = "next"
"""The version of an estimate that names none; it is never pinned."""
_OBSERVATION_INTERVAL_S: Final = 60.0
_STORED_EVERY_MIN: Final = 15.0
"""Interval of checkpoints in a lake on S3, unless the settings have another one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one version, or compute for rank 0 in another process of its training.

    Returns 0, 1 after an error that is reported, 130 after an interrupt, or a code of `habla_ml.training.exit_codes`.
    """
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if options.version is None and not options.estimate:
        parser.error("--version is required, except with --estimate")
    prepare_process(die_with_its_parent=options.die_with_parent)

    def lead() -> None:
        if PIPES_VARIABLE in os.environ:
            _train_in_pipes(options)
        elif options.estimate:
            _estimate(options)
        else:
            record, _ = _run_training(options, _print_progress)
            print(record.model_dump_json(indent=2, exclude={"losses"}))

    return report_errors(partial(train_together, lead, lambda: _open_lake(_load_settings(options))), options.out)


def prepare_process(*, die_with_its_parent: bool) -> None:
    """Prepare this process for trainings; one of Dagster always ends with its parent."""
    if die_with_its_parent or PIPES_VARIABLE in os.environ:
        # SIGKILL is safe: publishing is atomic, and a run resumes from its last checkpoint.
        die_with_parent(os.getppid())
    let_waiting_threads_sleep()
    keep_freed_memory()
    _quiet_libraries()


def report_errors(act: Callable[[], None], folder: Path) -> int:
    """Call `act`, print its error with advice about `folder`, and return the exit code of the process."""
    try:
        with raise_on_termination():
            act()
    except HablaError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_ENVIRONMENT if classify_fault(error) == "environment" else 1
    except Exception as error:
        if is_lost_process(error):
            await_launcher()
            lost = f"{describe_process(read_world())} lost the connection to another one"
            print(f"error: {lost}; {RESUME} ({error})", file=sys.stderr, flush=True)
            return EXIT_ENVIRONMENT
        explained = explain_fault(error, folder)
        if explained is None:
            raise
        traceback.print_exc()
        print(f"error: {explained[0]}", file=sys.stderr, flush=True)
        return EXIT_ENVIRONMENT if explained[1] == "environment" else 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume at the last checkpoint", file=sys.stderr, flush=True)
        return 130
    return 0


def build_tracker_metadata(tensorboard: Path, tracker_runs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return where the curves of a run are as metadata of Dagster Pipes; the record of the version has the rest."""
    typed = {"tensorboard": ("path", str(tensorboard))}
    for name, address in tracker_runs.items():
        typed[name] = ("url" if address.startswith("http") else "text", address)
    return {name: {"type": kind, "raw_value": value} for name, (kind, value) in typed.items()}


class ProgressObservations:
    """Sends the figures of a run: at the first report of its pace, at each validation, and else once in `interval_s`."""

    def __init__(
        self, send: Callable[[dict[str, int | float]], None], interval_s: float = _OBSERVATION_INTERVAL_S
    ) -> None:
        self._send, self._interval_s = send, interval_s
        self._sent: float | None = None

    def report(self, progress: Progress) -> None:
        """Send the figures of a report, unless the last ones were sent shortly before."""
        now = time.monotonic()
        is_due = self._sent is None or now - self._sent >= self._interval_s or progress.validation_wer is not None
        if progress.pace is None or not is_due:
            return
        self._sent = now
        named = {
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "validation_wer": progress.validation_wer,
            "general_wer": progress.general_wer,
            "invented": progress.invented,
        }
        self._send(
            {"step": progress.step, "steps": progress.max_steps, "epoch": progress.pace.epoch}
            | {name: value for name, value in named.items() if value is not None}
            | progress.pace.to_metrics()
        )


def _train_in_pipes(options: argparse.Namespace) -> None:
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as context:
        observations = ProgressObservations(context.report_custom_message)

        def report(progress: Progress) -> None:
            context.log.info(progress.message)
            observations.report(progress)

        record, tracker_runs = _run_training(options, report)
        tensorboard = RunFolder(options.out, record.identity).tensorboard
        metadata = build_tracker_metadata(tensorboard, tracker_runs)
        context.report_asset_materialization(metadata=metadata, data_version=record.tree)


def _run_training(
    options: argparse.Namespace, report_progress: Callable[[Progress], None]
) -> tuple[TrainingRecord, dict[str, str]]:
    """Return the record of the version, and tracker → where its run is."""
    job = _prepare_job(options, report_progress)
    pin_plan(job.lake, job.plan)

    def report(progress: Progress) -> None:
        report_progress(progress)
        if progress.estimate is not None:
            require_time(progress.estimate, job.recipe, job.settings.training.limit_h)

    trackers, labels, storage = job.recipe.report_to, _build_labels(job), job.settings.work_folder
    with open_trackers(
        trackers, job.plan.version, labels, options.out, storage, lambda message: report(Progress(message))
    ) as tracker_runs:
        record = train_version(
            job.lake,
            job.snapshot,
            job.recipe,
            options.version,
            options.out,
            report,
            job.extra_speech,
            again=options.again,
            store_every_s=_choose_store_interval(job.settings),
        )
    return record, tracker_runs


def _choose_store_interval(settings: Settings) -> float | None:
    """Return how often a checkpoint goes to the lake; None is never."""
    chosen = settings.training.checkpoint_every_min
    if chosen == "auto":
        chosen = _STORED_EVERY_MIN if "://" in settings.lake.url else None
    return None if chosen is None else 60 * chosen


def _build_labels(job: _Job) -> dict[str, str]:
    """Return the inputs of a version and links to it, for trackers."""
    labels = {
        "version": job.plan.version,
        "snapshot": job.plan.snapshot,
        "recipe": job.recipe.name,
        "recipe_object": job.plan.recipe,
        "base_model": job.recipe.base_model,
        "lineage": job.settings.command("lineage", job.plan.version),
        "report": f"{job.settings.service.address}/reports/{job.plan.version}",
    }
    if PIPES_VARIABLE in os.environ:
        from dagster_pipes import PipesContext

        labels["dagster_run"] = PipesContext.get().run_id
    return labels


def _estimate(options: argparse.Namespace) -> None:
    """Print the estimate of each stage, and raise `TrainingError` if together they exceed the limit."""
    job = _prepare_job(options, _print_progress)
    limit_h = job.settings.training.limit_h
    require_time(
        estimate_version(job.lake, job.snapshot, job.recipe, options.out, _print_progress, job.extra_speech),
        job.recipe,
        limit_h,
    )
    limit = "there is no limit" if limit_h is None else f"within the limit of {limit_h:g} h (training.limit_h)"
    print(f"nothing was trained; {limit}")


def _print_progress(progress: Progress) -> None:
    print(progress.message, flush=True)


@dataclass(frozen=True)
class _Job:
    """The inputs of a training."""

    settings: Settings
    lake: Lake
    plan: VersionPlan
    recipe: Recipe
    snapshot: Snapshot
    extra_speech: ExtraSpeech


def _load_settings(options: argparse.Namespace) -> Settings:
    return load_settings(options.settings or options.profile)


def _open_lake(settings: Settings) -> Lake:
    return open_lake(settings.lake, settings.work_folder / "cache")


def _prepare_job(options: argparse.Namespace, report_progress: Callable[[Progress], None]) -> _Job:
    settings = _load_settings(options)
    lake = _open_lake(settings)
    plan = _plan(lake, settings, options)
    recipe = load_recipe(write_recipe_file(lake, plan, settings.work_folder))
    require_trackers(recipe.report_to, recipe.name)
    snapshot = load_snapshot(lake, plan.snapshot)
    if (start := import_start(lake, recipe, settings)) is not None:
        report_progress(Progress(f"continuing from {start.model_version} of {start.repository}@{start.revision}"))
    extra_speech = read_extra_speech(lake, snapshot, recipe, settings)
    if left_out := extra_speech.describe_left_out():
        report_progress(Progress(f"left out because it is evaluation audio: {left_out}"))
    return _Job(settings, lake, plan, recipe, snapshot, extra_speech)


def _plan(lake: Lake, settings: Settings, options: argparse.Namespace) -> VersionPlan:
    """Return the version's plan, or one of the snapshot and recipe of the options or the settings."""
    training = settings.training
    if options.recipe is not None:
        training = training.model_copy(update={"recipe": options.recipe})
    version = options.version or _UNNAMED
    pinned = find_plan(lake, version)
    wanted = options.snapshot or (pinned.snapshot if pinned else None)
    snapshot = load_latest_snapshot(lake) if wanted is None else load_snapshot(lake, wanted)
    plan = propose_plan(lake, version, snapshot, training, partial(choose_start, settings))
    check_planned_inputs(lake, plan, options.snapshot, options.recipe, settings.work_folder)
    return plan


def _quiet_libraries() -> None:
    """Turn off the libraries' own progress, by variables, so that an early error needs no slow imports."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("peft").setLevel(logging.WARNING)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m habla_ml.training", description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--profile", help="name of a profile in configs/; default: HABLA_PROFILE, or local")
    which.add_argument("--settings", type=Path, help="path of a settings file")
    parser.add_argument("--snapshot", help="id that `splits` published; default: the version's own, or the newest")
    parser.add_argument("--recipe", type=Path, help="recipe file; default: the version's own, or that of the settings")
    parser.add_argument("--version", help="model version, e.g. v3; optional with --estimate")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in; one training at a time")
    parser.add_argument(
        "--estimate", action="store_true", help="time a few steps, print what a training needs, and end"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="train from the start, also if the version is published or has checkpoints of another machine or package",
    )
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends")
    return parser
