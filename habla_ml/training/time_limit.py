"""How long a training would take, from the first steps of each stage, and its refusal where that is too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training.base_model import WhisperBaseModel, resolve_base_model
from habla_ml.training.device import CPU, describe_device, name_device
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.first_stage import build_stage_data, find_first_stage
from habla_ml.training.identity import RunIdentity
from habla_ml.training.pace import RunEstimate, format_duration
from habla_ml.training.recipe import Recipe
from habla_ml.training.run import RunFolder, TrainingData, finish_run
from habla_ml.training.train import build_training_data, lock_work_folder
from habla_ml.training.trainer import Progress


def require_time(estimate: RunEstimate, recipe: Recipe, limit_h: float | None) -> None:
    """Raise `TrainingError` with advice if the rest of a run of `recipe` needs more than `limit_h` hours on this device."""
    remaining_s = estimate.pace.remaining_s
    if recipe.max_wall_s is not None:
        remaining_s = min(remaining_s, recipe.max_wall_s)
    if limit_h is None or remaining_s <= 3600 * limit_h:
        return
    advice = ["use a machine with a GPU"] if name_device() == CPU else ["use a faster GPU"]
    advice += ["lower epochs or max_steps"]
    if recipe.lora is None and recipe.parts == "all":
        advice += ["train less of the model (parts: encoder, or method: lora)"]
    raise TrainingError(
        f"recipe {recipe.name} needs about {format_duration(remaining_s)} on {describe_device()}, but training.limit_h is "
        f"{limit_h:g} h; {', '.join(advice)}, choose a smaller base_model, or raise training.limit_h"
    )


def estimate_version(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    work_folder: Path,
    progress: Callable[[Progress], None],
    extra_speech: ExtraSpeech,
) -> RunEstimate:
    """Time the first steps of each stage of a version and return the estimate of all; nothing is published.

    The decoded clips stay in `work_folder` for the training itself. Two stages are timed from the base model.

    Raises:
        TrainingError: As `train_version`.
    """
    base = resolve_base_model(recipe)
    runs: list[tuple[Recipe, RunIdentity, TrainingData]] = []
    stage = None
    if recipe.first_stage is not None:
        stage = RunIdentity.of_first_stage(recipe, base, extra_speech.first_stage)
        if find_first_stage(lake, stage) is None:
            own = recipe.to_first_stage_recipe()
            runs.append((own, stage, build_stage_data(own, extra_speech.first_stage)))
    identity = RunIdentity.of(recipe, snapshot.id, base, extra_speech.replay, stage, extra_speech.excluded_sounds)
    data = build_training_data(lake, snapshot, recipe, extra_speech.replay, extra_speech.excluded_sounds)
    runs.append((recipe, identity, data))
    with lock_work_folder(work_folder):
        estimates = [_time_run(*run, base, RunFolder(work_folder, run[1]), progress) for run in runs]
    largest = max(estimates, key=lambda estimate: estimate.memory_bytes)
    total_s = sum(estimate.pace.remaining_s for estimate in estimates)
    return replace(largest, pace=replace(largest.pace, remaining_s=total_s))


class _TimedError(Exception):
    """Ends a run when its estimate is known."""

    def __init__(self, estimate: RunEstimate) -> None:
        super().__init__()
        self.estimate = estimate


def _time_run(
    recipe: Recipe,
    identity: RunIdentity,
    data: TrainingData,
    base: WhisperBaseModel,
    folder: RunFolder,
    progress: Callable[[Progress], None],
) -> RunEstimate:
    """Return the estimate of a run from its first steps, or from those after its last checkpoint."""

    def report(update: Progress) -> None:
        progress(update)
        if update.estimate is not None:
            raise _TimedError(update.estimate)

    try:
        finish_run(recipe, identity, base, base.folder, data, folder, report)
    except _TimedError as timed:
        return timed.estimate
    raise TrainingError(f"the training in {folder.root} is finished; run it without --estimate to publish it")
