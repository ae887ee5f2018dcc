"""One training run: from training data and an initial model to a finished folder with checkpoint and record.

The run of a version uses classroom data, that of a first stage general speech. Both resume from the last stamped
checkpoint or from the finished folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import TrainingError
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.checkpoints import (
    extract_loss_curve,
    extract_validation_curve,
    find_best_point,
    find_latest_checkpoint,
    get_checkpoint_folder,
)
from habla_ml.training.clips import ClipLoader, NonSpeech, write_clips
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import (
    load_feature_extractor,
    load_tokenizer,
    prepare_trainable_model,
    write_model_folder,
)
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainedRun
from habla_ml.training.targets import TargetEncoder
from habla_ml.training.trainer import PreparedRun, Progress, build_trainer, resolve_precision
from habla_ml.training.windows import StepSchedule

_SCRATCH_NAMES: Final = ("checkpoints", "clips", "validation", "start", "finished")
"""Folders of a run that its published model no longer needs."""


def list_run_scratch(root: Path) -> list[Path]:
    """Return the existing folders below a run's folder that are not needed once its model is published."""
    return [root / name for name in _SCRATCH_NAMES if (root / name).is_dir()]


class RunFolder:
    """The files of one run, inside the caller's work folder."""

    def __init__(self, work_folder: Path, identity: RunIdentity) -> None:
        self.root = work_folder / identity.digest[:16]
        self.clips = self.root / "clips"
        """Decoded audio and labels for training; `validation` has those for validation."""
        self.validation = self.root / "validation"
        self.start = self.root / "start"
        """The initial model after a first stage."""
        self.checkpoints = self.root / "checkpoints"
        """Checkpoints with optimiser state, for resuming."""
        self.tensorboard = self.root / "tensorboard"
        """Event files; kept after publishing."""
        self.finished = self.root / "finished"
        """`checkpoint/` and `run.json` of a finished run; written atomically."""

    def clear(self) -> None:
        """Delete everything that a published run no longer needs."""
        for scratch in list_run_scratch(self.root):
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class TrainingData:
    """Data for training and validation of a run."""

    name: str
    """Name in messages, such as `snapshot 0123abcd`."""
    train: Iterable[Utterance]
    validation: Iterable[Utterance]
    general_speech: tuple[SpeechSourceSummary, ...]
    remedy: str
    """What to do if no clip is usable; end of the error message."""
    non_speech: NonSpeech


def finish_run(
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    start: Path,
    training_data: TrainingData,
    folder: RunFolder,
    progress: Callable[[Progress], None],
) -> None:
    """Train to the end and write the result to `folder.finished`.

    A checkpoint of another identity is refused. `base` is the recipe's base model, for tokenizer, configs and the share
    of its weights. `start` has the initial model: the base model or the result of a first stage.

    Raises:
        TrainingError: There are no usable clips for training or validation, or the loss is not finite.
    """
    if recipe.threads is not None:
        import torch

        torch.set_num_threads(recipe.threads)
    run = prepare_run(recipe, identity, base, training_data, folder, progress)
    trained = _train_to_end(run, base, start, training_data.general_speech)
    attempt = folder.root / f"attempt-{os.getpid()}"
    for leftover in folder.root.glob("attempt-*"):
        shutil.rmtree(leftover)
    best = get_checkpoint_folder(folder.checkpoints, trained.best_step)
    write_model_folder(best, start, base, recipe.base_share, attempt / "checkpoint")
    (attempt / "run.json").write_text(trained.model_dump_json(indent=2), "utf-8")
    attempt.rename(folder.finished)


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
    progress(Progress(f"reading the clips of {training_data.name}"))
    targets, extractor = TargetEncoder(load_tokenizer(base)), load_feature_extractor(base)
    train = write_clips(training_data.train, targets, folder.clips, training_data.non_speech)
    validation = write_clips(training_data.validation, targets, folder.validation)
    for split, clips in (("train", train), ("validation", validation)):
        if not clips.n_speech:
            found = f"{training_data.name} has no usable {split} clips (skipped: {dict(clips.skipped) or 'none'})"
            raise TrainingError(f"{found}; {training_data.remedy}")
    schedule = StepSchedule(train.durations_s.tolist(), recipe)
    message = (
        f"{train.n_speech} training clips ({train.speech_hours:.2f} h), {len(train) - train.n_speech} without speech, "
        f"{len(validation)} for validation, {sum(train.skipped.values())} skipped; {schedule.max_steps} steps"
    )
    progress(Progress(message, max_steps=schedule.max_steps))
    return PreparedRun(
        recipe=recipe,
        identity=identity,
        schedule=schedule,
        train=ClipLoader(train, extractor, targets),
        validation=ClipLoader(validation, extractor, targets),
        targets=targets,
        checkpoints=folder.checkpoints,
        tensorboard=folder.tensorboard,
        report_progress=progress,
    )


def _train_to_end(
    run: PreparedRun, base: WhisperBaseModel, start: Path, general_speech: tuple[SpeechSourceSummary, ...]
) -> TrainedRun:
    from transformers import set_seed

    resumed = find_latest_checkpoint(run.checkpoints, run.identity)
    if resumed is None or not resumed.stamp.stopped:
        set_seed(run.recipe.seed)  # the initial weights of adapters are random
        trainer = build_trainer(prepare_trainable_model(run.recipe, start), run, resumed)
        if resumed is not None:
            step = resumed.stamp.step
            run.report_progress(Progress(f"resuming at step {step}", step, run.schedule.max_steps))
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
    ended = find_latest_checkpoint(run.checkpoints, run.identity)
    if ended is None or not ended.stamp.stopped:
        raise TrainingError(f"the training in {run.checkpoints.parent} ended without a final checkpoint; run it again")
    curve = extract_validation_curve(ended.log)
    return TrainedRun(
        identity=run.identity,
        identity_digest=run.identity.digest,
        recipe=run.recipe.name,
        base_model=base.name,
        base_model_revision=base.revision,
        steps=ended.stamp.step,
        best_step=find_best_point(curve).step,
        validation=curve,
        validation_clips=len(run.validation),
        losses=extract_loss_curve(ended.log),
        train_clips=run.train.clips.n_speech,
        non_speech_clips=len(run.train) - run.train.clips.n_speech,
        train_hours=run.train.clips.speech_hours,
        processed_hours=run.schedule.sum_audio_s(ended.stamp.step) / 3600,
        skipped=run.train.clips.skipped,
        wall_s=ended.stamp.elapsed_s,
        device=_describe_device(),
        precision=resolve_precision(run.recipe),
        general_speech=general_speech,
        code=ended.stamp.code,
    )


def _describe_device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads"
