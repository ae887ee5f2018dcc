"""One training run: from utterances and a model to start from, to a finished folder with a checkpoint and its record.

A version's run hears the classroom, a first stage general speech alone. Both are resumed in the same way: from the
last stamped checkpoint, or from the finished folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import TrainingError
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.checkpoints import (
    extract_loss_curve,
    extract_validation_curve,
    find_latest_checkpoint,
    get_checkpoint_folder,
)
from habla_ml.training.clips import ClipLoader, write_clips
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import (
    load_feature_extractor,
    load_tokenizer,
    prepare_trainable_model,
    write_model_folder,
)
from habla_ml.training.non_speech import NonSpeech
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainedRun
from habla_ml.training.targets import TargetEncoder
from habla_ml.training.trainer import PreparedRun, Progress, build_trainer, resolve_precision
from habla_ml.training.validation import find_best_point
from habla_ml.training.windows import StepSchedule


@dataclass(frozen=True)
class RunFolder:
    """Where one run works, below the caller's work folder."""

    root: Path

    @property
    def clips(self) -> Path:
        """Decoded audio and labels; scratch."""
        return self.root / "clips"

    @property
    def validation(self) -> Path:
        """The same of the clips to validate on."""
        return self.root / "validation"

    @property
    def start(self) -> Path:
        """The model to start from, where it is not the base; scratch."""
        return self.root / "start"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints with optimiser state, to resume from."""
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Event files; kept after publishing."""
        return self.root / "tensorboard"

    @property
    def finished(self) -> Path:
        """`checkpoint/` and `run.json` of a run that has ended; appears whole."""
        return self.root / "finished"

    def clear(self) -> None:
        """Remove everything that is of no use once the run is published."""
        for scratch in (self.checkpoints, self.clips, self.validation, self.start, self.finished):
            shutil.rmtree(scratch, ignore_errors=True)


def get_run_folder(work_folder: Path, identity: RunIdentity) -> RunFolder:
    """The folder of one run below `work_folder`."""
    return RunFolder(work_folder / identity.digest[:16])


@dataclass(frozen=True)
class TrainingData:
    """What a run hears, and what it is validated on."""

    name: str
    """Of the whole, for messages: `snapshot 0123abcd`."""
    train: Iterable[Utterance]
    validation: Iterable[Utterance]
    general_speech: tuple[SpeechSourceSummary, ...]
    """The sources of the general speech in it."""
    remedy: str
    non_speech: NonSpeech
    """What to do where nothing of it can be used."""


def finish_run(
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    start: Path,
    training_data: TrainingData,
    folder: RunFolder,
    progress: Callable[[Progress], None],
) -> None:
    """Train to the end and lay the result down as `folder.finished`.

    Args:
        recipe: How.
        identity: Names the run; a checkpoint of another one is refused.
        base: The recipe's base model, for its tokenizer, its configs and the share of its weights.
        start: A folder with the model that training starts from: the base's, or a first stage's.
        training_data: What is heard.
        folder: Where the run works.
        progress: Told one line at a time.

    Raises:
        TrainingError: Nothing to train or validate on, or the loss is not finite.
    """
    if recipe.threads is not None:
        import torch

        torch.set_num_threads(recipe.threads)
    run = prepare_run(recipe, identity, base, training_data, folder, progress)
    trained = _train_to_end(run, base, start, folder).model_copy(
        update={"general_speech": training_data.general_speech}
    )
    attempt = folder.root / f"attempt-{os.getpid()}"
    for leftover in folder.root.glob("attempt-*"):
        shutil.rmtree(leftover)
    best = get_checkpoint_folder(folder.checkpoints, trained.best_step)
    write_model_folder(best, start, base, recipe.base_share, attempt / "checkpoint")
    (attempt / "run.json").write_text(trained.model_dump_json(indent=2), "utf-8")
    attempt.rename(folder.finished)


def read_finished_run(folder: RunFolder) -> TrainedRun:
    """The record that `finish_run` left beside the checkpoint."""
    return TrainedRun.model_validate_json((folder.finished / "run.json").read_bytes())


def prepare_run(
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    training_data: TrainingData,
    folder: RunFolder,
    progress: Callable[[Progress], None],
) -> PreparedRun:
    """Lay the training clips down in `folder` and plan the run over them.

    Raises `TrainingError` where there is no usable clip to train or to validate on.
    """
    progress(Progress(f"reading the clips of {training_data.name}"))
    targets, extractor = TargetEncoder(load_tokenizer(base)), load_feature_extractor(base)
    train = write_clips(training_data.train, targets, folder.clips, training_data.non_speech)
    validation = write_clips(training_data.validation, targets, folder.validation)
    for split, clips in (("train", train), ("validation", validation)):
        if not clips.n_speech:
            raise TrainingError(
                f"{training_data.name} has no usable {split} clips (left out: {dict(clips.skipped) or 'none'}); "
                f"{training_data.remedy}"
            )
    schedule = StepSchedule(train.durations_s.tolist(), recipe)
    progress(
        Progress(
            f"{train.n_speech} training clips ({train.speech_hours:.2f} h), {len(train) - train.n_speech} without "
            f"speech, {len(validation)} for validation, left out "
            f"{sum(train.skipped.values())}; {schedule.max_steps} steps",
            max_steps=schedule.max_steps,
        )
    )
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


def _train_to_end(run: PreparedRun, base: WhisperBaseModel, start: Path, folder: RunFolder) -> TrainedRun:
    from transformers import set_seed

    resumed = find_latest_checkpoint(folder.checkpoints, run.identity)
    if resumed is None or not resumed.stamp.stopped:
        set_seed(run.recipe.seed)  # adapters start from random weights
        trainer = build_trainer(prepare_trainable_model(run.recipe, start), run, resumed)
        if resumed is not None:
            run.report_progress(
                Progress(f"resuming at step {resumed.stamp.step}", resumed.stamp.step, run.schedule.max_steps)
            )
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
    ended = find_latest_checkpoint(folder.checkpoints, run.identity)
    if ended is None or not ended.stamp.stopped:
        raise TrainingError(f"the training in {folder.root} ended without a last checkpoint; run it again")
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
        hours_heard=run.schedule.sum_audio_s(ended.stamp.step) / 3600,
        skipped=run.train.clips.skipped,
        wall_s=ended.stamp.elapsed_s,
        device=_describe_device(),
        precision=resolve_precision(run.recipe),
    )


def _describe_device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads"
