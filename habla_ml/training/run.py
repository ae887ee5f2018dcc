"""One training run: from training data and an initial model to a finished folder with checkpoint and record.

The run of a version uses classroom data, that of a first stage general speech. Both resume from the last stamped
checkpoint or from the finished folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.process import sync_folder
from habla_ml.training.averaging import average_best
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.checkpoint_bounds import CheckpointBounds, describe_choice
from habla_ml.training.checkpoints import (
    STAMP_FILE,
    Checkpoint,
    CheckpointStamp,
    extract_loss_curve,
    extract_validation_curve,
    find_best_point,
    find_latest_checkpoint,
    get_checkpoint_folder,
)
from habla_ml.training.clips import AnyUtterance, ClipLoader, NonSpeech, build_training_loader, write_clips
from habla_ml.training.device import describe_device, resolve_precision
from habla_ml.training.identity import RunIdentity
from habla_ml.training.keeper import TrainingKeeper
from habla_ml.training.model_folder import (
    load_feature_extractor,
    load_tokenizer,
    prepare_trainable_model,
    write_model_folder,
)
from habla_ml.training.model_validation import find_bounds, read_start_validation
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainedRun
from habla_ml.training.remedies import (
    NotFiniteError,
    Remedies,
    choose_remedies,
    delete_remedies,
    describe_change,
    read_remedies,
    write_remedies,
)
from habla_ml.training.schedule import StepSchedule
from habla_ml.training.target_forms import TargetMix
from habla_ml.training.targets import TargetEncoder
from habla_ml.training.trainer import PreparedRun, Progress, build_trainer
from habla_ml.training.validation import plan_validation
from habla_ml.training.validation_sets import GuardClips, choose_validation_clips
from habla_ml.training.world import read_world, restart_all, share

_SCRATCH_NAMES: Final = (
    "averaged",
    "checkpoints",
    "clips",
    "finished",
    "guards",
    "restored",
    "start",
    "stored",
    "validation",
)
"""Folders of a run that its published model no longer needs."""


def list_run_scratch(root: Path) -> list[Path]:
    """Return the existing folders below a run's folder that are not needed once its model is published."""
    return [root / name for name in _SCRATCH_NAMES if (root / name).is_dir()]


class RunFolder:
    """The files of one run, inside the caller's work folder."""

    def __init__(self, work_folder: Path, identity: RunIdentity) -> None:
        self.identity = identity
        self.root = work_folder / identity.digest[:16]
        self.clips = self.root / "clips"
        """Decoded audio and labels for training; `validation` has those for validation."""
        self.validation = self.root / "validation"
        self.guards = self.root / "guards"
        """The clips of general speech and without speech for validation."""
        self.start = self.root / "start"
        """The initial model after a first stage."""
        self.checkpoints = self.root / "checkpoints"
        """Checkpoints with optimiser state, for resuming."""
        self.averaged = self.root / "averaged"
        """The mean of checkpoints, if it is published."""
        self.tensorboard = self.root / "tensorboard"
        """Event files; kept after publishing."""
        self.finished = self.root / "finished"
        """`checkpoint/` and `run.json` of a finished run; written atomically."""

    def clear(self) -> None:
        """Delete everything that a published run no longer needs."""
        for scratch in list_run_scratch(self.root):
            shutil.rmtree(scratch, ignore_errors=True)
        (self.root / "lease").unlink(missing_ok=True)
        delete_remedies(self.root)


def handle_foreign_runs(work_folder: Path, identity: RunIdentity, *, discard: bool) -> None:
    """Find unfinished runs with the same inputs that other code, packages or another machine began.

    Resuming one would silently change how its weights are computed, and ignoring it would silently lose its steps.

    Raises:
        TrainingError: There is one, and `discard` is false.
    """
    for stamp_file in sorted(work_folder.glob(f"*/checkpoints/*/{STAMP_FILE}")):
        stamp = CheckpointStamp.model_validate_json(stamp_file.read_bytes())
        if stamp.identity == identity or not identity.has_inputs_of(stamp.identity):
            continue
        if discard:
            shutil.rmtree(stamp_file.parents[2])
        else:
            raise TrainingError(
                f"{stamp_file.parent} has step {stamp.step} of this training, made with "
                f"{identity.describe_differences(stamp.identity)}; resume it there, or train from the start with train_again "
                "or --again"
            )


@dataclass(frozen=True)
class TrainingData:
    """Data for training and validation of a run."""

    name: str
    """Name in messages, such as `snapshot 0123abcd`."""
    train: Iterable[AnyUtterance]
    validation: Iterable[AnyUtterance]
    general_speech: tuple[SpeechSourceSummary, ...]
    remedy: str
    """What to do if no clip is usable; end of the error message."""
    non_speech: NonSpeech
    lake: Lake | None = None
    """Has the audio of stored utterances."""
    guards: GuardClips | None = None
    """None validates on `validation` alone."""


def open_written_data(
    folder: RunFolder, name: str, lake: Lake, general_speech: tuple[SpeechSourceSummary, ...] = (), remedy: str = ""
) -> TrainingData:
    """Return the data of a run whose clips are in its folder already; `lake` has the audio of stored ones."""
    guards = GuardClips((), NonSpeech()) if folder.guards.exists() else None
    return TrainingData(name, (), (), general_speech, remedy, NonSpeech(), lake, guards)


def finish_run(
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    start: Path,
    training_data: TrainingData,
    folder: RunFolder,
    progress: Callable[[Progress], None],
    keeper: TrainingKeeper | None = None,
) -> None:
    """Train to the end and write the result to `folder.finished`.

    A checkpoint of another identity is refused. `base` is the recipe's base model, for tokenizer, configs and the share
    of its weights. `start` has the initial model: the base model or the result of a first stage. `keeper` stores
    checkpoints in the lake too.

    Raises:
        TrainingError: There are no usable clips for training or validation, or the loss is not finite.
        TrainingInterruptedError: The process was asked to end.
        TrainingLeasedError: Another process took the training over.
    """
    run = replace(prepare_run(recipe, identity, base, training_data, folder, progress), keeper=keeper)
    run, trained = _train_to_end(run, base, start, training_data.general_speech)
    trained, best = _choose_weights(run, trained, start, folder)
    attempt = folder.root / f"attempt-{os.getpid()}"
    for leftover in folder.root.glob("attempt-*"):
        shutil.rmtree(leftover)
    write_model_folder(best, start, base, recipe.base_share, attempt / "checkpoint")
    (attempt / "run.json").write_text(trained.model_dump_json(indent=2), "utf-8")
    sync_folder(attempt)
    attempt.rename(folder.finished)


def _choose_weights(run: PreparedRun, trained: TrainedRun, start: Path, folder: RunFolder) -> tuple[TrainedRun, Path]:
    """Return the run with the weights to publish, and their folder: those of the best step or the mean of several."""
    average = average_best(run, trained.validation, start, folder.averaged)
    if average is None:
        return trained, get_checkpoint_folder(folder.checkpoints, trained.best_step)
    return trained.model_copy(update={"averaged_steps": average.steps, "average": average.point}), average.folder


def read_finished_run(folder: RunFolder) -> TrainedRun:
    """Read the record that `finish_run` wrote."""
    return TrainedRun.model_validate_json((folder.finished / "run.json").read_bytes())


def prepare_run(
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    training_data: TrainingData,
    folder: RunFolder,
    progress: Callable[[Progress], None],
) -> PreparedRun:
    """Write the clips to `folder` and prepare the run over them.

    Raises:
        TrainingError: There are no usable clips for training or validation.
    """
    if recipe.threads is not None:
        import torch

        torch.set_num_threads(recipe.threads)
    progress(Progress(f"reading the clips of {training_data.name}"))
    targets = TargetEncoder(load_tokenizer(base))
    lake, mix = training_data.lake, TargetMix.of(recipe)
    train = write_clips(training_data.train, targets, folder.clips, training_data.non_speech, mix, lake)
    validation = write_clips(training_data.validation, targets, folder.validation, lake=lake)
    for split, clips in (("train", train), ("validation", validation)):
        if not clips.n_speech:
            found = f"{training_data.name} has no usable {split} clips (skipped: {dict(clips.skipped) or 'none'})"
            raise TrainingError(f"{found}; {training_data.remedy}")
    schedule = StepSchedule(train.durations_s.tolist(), train.label_counts.tolist(), recipe, train.n_classroom)
    guards = None
    if training_data.guards is not None:
        guards = write_clips(
            training_data.guards.general, targets, folder.guards, training_data.guards.non_speech, lake=lake
        )
    guard_durations_s = () if guards is None else guards.durations_s.tolist()
    plan = plan_validation(recipe, schedule, validation.durations_s.tolist(), guard_durations_s)
    for clips in filter(None, (train, validation.take(plan.n_clips), guards)):
        clips.fetch(lambda line: progress(Progress(line)))
    validation, groups = choose_validation_clips(validation, guards, plan)
    message = (
        f"{train.n_speech} training clips ({train.speech_hours:.2f} h), {len(train) - train.n_speech} without speech, "
        f"{groups.describe()} every {plan.every_steps} steps, {sum(train.skipped.values())} skipped; "
        f"{schedule.max_steps} steps"
    )
    progress(Progress(message, max_steps=schedule.max_steps))
    extractor = load_feature_extractor(base)
    return PreparedRun(
        recipe=recipe,
        identity=identity,
        schedule=schedule,
        evaluate_every_steps=plan.every_steps,
        train=build_training_loader(train, targets, recipe, extractor.feature_size),
        validation=ClipLoader(validation, targets),
        groups=groups,
        extractor=extractor,
        targets=targets,
        checkpoints=folder.checkpoints,
        tensorboard=folder.tensorboard,
        report_progress=progress,
    )


def _train_to_end(
    run: PreparedRun, base: WhisperBaseModel, start: Path, general_speech: tuple[SpeechSourceSummary, ...]
) -> tuple[PreparedRun, TrainedRun]:
    """Return the finished run, with its bounds and remedies, and its record."""
    run = _train_with_remedies(run, base, start)
    ended = find_latest_checkpoint(run.checkpoints, run.identity)
    if ended is None or not ended.stamp.stopped:
        raise TrainingError(f"the training in {run.checkpoints.parent} ended without a final checkpoint; run it again")
    curve = extract_validation_curve(ended.log)
    if choice := describe_choice(curve, run.bounds):
        run.report_progress(Progress(choice))
    trained = TrainedRun(
        identity=run.identity,
        identity_digest=run.identity.digest,
        recipe=run.recipe.name,
        base_model=base.name,
        base_model_revision=base.revision,
        steps=ended.stamp.step,
        best_step=find_best_point(curve, run.bounds.measure_excess).step,
        validation=curve,
        validation_clips=run.groups.n_class,
        start_validation=read_start_validation(run),
        choice=choice,
        losses=extract_loss_curve(ended.log),
        train_clips=run.train.clips.n_speech,
        non_speech_clips=len(run.train) - run.train.clips.n_speech,
        train_hours=run.train.clips.speech_hours,
        processed_hours=run.schedule.sum_audio_s(ended.stamp.step) / 3600,
        skipped=run.train.clips.skipped,
        wall_s=ended.stamp.elapsed_s,
        device=describe_device(),
        precision=resolve_precision(run.recipe),
        general_speech=general_speech,
        code=ended.stamp.code,
        remedies=run.remedies,
        processes=ended.stamp.processes,
    )
    return run, trained


@dataclass(frozen=True)
class TrainingAttempt:
    """A training from a checkpoint or from the start, until the run stops or has a fault: what all its processes need."""

    recipe: Recipe
    identity: RunIdentity
    base: WhisperBaseModel
    start: Path
    """Folder of the initial model."""
    work_folder: Path
    remedies: Remedies
    bounds: CheckpointBounds
    resumed: Checkpoint | None


def _train_with_remedies(run: PreparedRun, base: WhisperBaseModel, start: Path) -> PreparedRun:
    """Train until the run stops, again from its last checkpoint after a fault with a remedy; return it with its remedies."""
    folder = run.checkpoints.parent
    run = replace(run, remedies=read_remedies(folder))
    while True:
        resumed = find_latest_checkpoint(run.checkpoints, run.identity)
        try:
            run = replace(run, bounds=find_bounds(run, start))
            if resumed is not None and resumed.stamp.stopped:
                return run
            attempt = TrainingAttempt(
                run.recipe, run.identity, base, start, folder.parent, run.remedies, run.bounds, resumed
            )
            train_attempt(run, start, share(attempt).resumed)
            return run
        except Exception as error:
            remedies = choose_remedies(error, run.remedies, max(map(len, run.own_batches())))
            if remedies is None:
                raise
            latest = find_latest_checkpoint(run.checkpoints, run.identity)
            message = describe_change(error, run.remedies, remedies, latest.stamp.step if latest else 0)
            is_of_all = isinstance(error, NotFiniteError)
        write_remedies(folder, remedies)
        run.report_progress(Progress(message))
        if read_world().size > 1 and not is_of_all:
            restart_all()  # the others wait for the gradients of this process
        run = replace(run, remedies=remedies)
        _free_memory()  # the handler's end has released the tensors of the failed attempt


def train_attempt(run: PreparedRun, start: Path, resumed: Checkpoint | None) -> None:
    """Train from a checkpoint, or from the model in `start`, until the run stops."""
    from transformers import set_seed

    set_seed(run.recipe.seed)  # the initial weights of adapters are random
    trainer = build_trainer(prepare_trainable_model(run.recipe, start), run, resumed)
    world = read_world()
    processes = f", {world.size} processes" if world.size > 1 else ""
    device = f"{describe_device()} in {run.identity.precision}, attention {run.identity.attention}{processes}"
    run.report_progress(Progress(f"training on {device}", max_steps=run.schedule.max_steps))
    if resumed is not None:
        step = resumed.stamp.step
        run.report_progress(Progress(f"resuming at step {step}", step, run.schedule.max_steps))
        if (earlier := resumed.stamp.processes[-1]) != world.size:
            message = (
                f"the checkpoint is of {earlier} processes, and now there are {world.size}: the steps stay the same"
            )
            run.report_progress(Progress(message))
    with nullcontext() if run.keeper is None else run.keeper.watch():
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()
