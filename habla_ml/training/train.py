"""Trains one model version and publishes its checkpoint: the same inputs end with the same artefact.

Killed at any point, the next call goes on: from the last stamped checkpoint, from the finished folder, or from
the published pointer. The folder of a run is named by its identity and held by a lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.errors import PointerMovedError, TrainingError
from habla_ml.lake import Lake, Pointer
from habla_ml.training.base_model import BaseModel, resolve_base_model
from habla_ml.training.checkpoints import (
    checkpoint_folder,
    latest_checkpoint,
    loss_curve,
    validation_curve,
)
from habla_ml.training.clips import ClipLoader, sample_of, write_clips
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import load_extractor, load_tokenizer, trainable_model, write_model_folder
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainedRun, TrainingRecord, checkpoint_pointer, published_record
from habla_ml.training.targets import Targets
from habla_ml.training.trainer import Progress, Run, build_trainer, precision_of
from habla_ml.training.validation import best_point
from habla_ml.training.windows import Schedule

_NOTHING = GeneralSpeech()


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


def run_folder(work_folder: Path, identity: RunIdentity) -> RunFolder:
    """The folder of one run below `work_folder`."""
    return RunFolder(work_folder / identity.digest[:16])


def train_version(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    version: str,
    work_folder: Path,
    progress: Callable[[Progress], None],
    replay: GeneralSpeech = _NOTHING,
) -> TrainingRecord:
    """Train `recipe` on `snapshot` and move `models/<version>/checkpoint` to the result.

    `replay` is general speech, heard beside the snapshot's train split so that it is not forgotten.

    Does no work where that pointer already carries this identity. Resumes what an earlier call in the same
    `work_folder` left unfinished.

    Raises:
        TrainingError: Another process trains in `work_folder`, the snapshot has no clips to train or validate
            on, the base model cannot be had, the loss is not finite, or another run moved the pointer meanwhile.
    """
    base = resolve_base_model(recipe)
    identity = RunIdentity.of(recipe, snapshot.id, base, replay)
    with exclusive(work_folder):
        seen = lake.pointer(checkpoint_pointer(version))
        if seen is not None and seen.value["identity"] == identity.digest:
            progress(
                Progress(f"{version} is published already with identity {identity.digest[:12]}: nothing to do")
            )
            return _published(lake, version)
        folder = run_folder(work_folder, identity)
        if not folder.finished.exists():
            _finish(lake, snapshot, recipe, base, identity, folder, progress, replay)
        record = _publish(lake, version, folder, seen)
        for scratch in (folder.checkpoints, folder.clips, folder.validation, folder.finished):
            shutil.rmtree(scratch, ignore_errors=True)
        progress(Progress(f"{version} published: checkpoint tree {record.tree[:12]}, step {record.best_step}"))
        return record


@contextmanager
def exclusive(work_folder: Path) -> Iterator[None]:
    """Hold the work folder's lock; the system frees it when the process ends, however it ends."""
    work_folder.mkdir(parents=True, exist_ok=True)
    with (work_folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TrainingError(
                f"{work_folder} is held by process {lock.read().strip() or 'of unknown number'}, which trains "
                "there; wait until it has ended, end it, or train in another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _finish(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    base: BaseModel,
    identity: RunIdentity,
    folder: RunFolder,
    progress: Callable[[Progress], None],
    replay: GeneralSpeech,
) -> None:
    """Train to the end and lay the result down as `folder.finished`."""
    if recipe.threads is not None:
        import torch

        torch.set_num_threads(recipe.threads)
    run = prepare_run(lake, snapshot, recipe, base, identity, folder, progress, replay)
    trained = _train(run, base, folder).model_copy(update={"general_speech": replay.sources})
    attempt = folder.root / f"attempt-{os.getpid()}"
    for leftover in folder.root.glob("attempt-*"):
        shutil.rmtree(leftover)
    best = checkpoint_folder(folder.checkpoints, trained.best_step)
    write_model_folder(best, base, recipe.base_share, attempt / "checkpoint")
    (attempt / "run.json").write_text(trained.model_dump_json(indent=2), "utf-8")
    attempt.rename(folder.finished)


def prepare_run(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    base: BaseModel,
    identity: RunIdentity,
    folder: RunFolder,
    progress: Callable[[Progress], None],
    replay: GeneralSpeech = _NOTHING,
) -> Run:
    """Lay the snapshot's clips down in `folder` and plan the run over them.

    Raises `TrainingError` where the train or validation split has no usable clip.
    """
    progress(Progress(f"reading the clips of snapshot {snapshot.id[:12]}"))
    targets, extractor = Targets(load_tokenizer(base)), load_extractor(base)
    heard = chain(read_utterances(lake, snapshot, "train"), replay.utterances)
    train = write_clips(heard, targets, folder.clips)
    chosen = sample_of(read_utterances(lake, snapshot, "validation"), recipe.validation_clips)
    validation = write_clips(chosen, targets, folder.validation)
    for split, clips in (("train", train), ("validation", validation)):
        if not len(clips):
            raise TrainingError(
                f"snapshot {snapshot.id[:12]} has no usable {split} clips (left out: "
                f"{dict(clips.skipped) or 'none'}); correct more sessions and publish `splits` again"
            )
    schedule = Schedule(train.durations_s.tolist(), recipe)
    progress(
        Progress(
            f"{len(train)} training clips, {len(replay.utterances)} of them general speech "
            f"({train.durations_s.sum() / 3600:.2f} h), {len(validation)} for "
            f"validation, left out {sum(train.skipped.values())}; {schedule.max_steps} steps",
            max_steps=schedule.max_steps,
        )
    )
    return Run(
        recipe=recipe,
        identity=identity,
        schedule=schedule,
        train=ClipLoader(train, extractor, targets.start_id, targets.end_id),
        validation=ClipLoader(validation, extractor, targets.start_id, targets.end_id),
        targets=targets,
        checkpoints=folder.checkpoints,
        tensorboard=folder.tensorboard,
        tell=progress,
    )


def _train(run: Run, base: BaseModel, folder: RunFolder) -> TrainedRun:
    from transformers import set_seed

    resumed = latest_checkpoint(folder.checkpoints, run.identity)
    if resumed is None or not resumed.stamp.stopped:
        set_seed(run.recipe.seed)  # adapters start from random weights
        trainer = build_trainer(trainable_model(run.recipe, base), run, resumed)
        if resumed is not None:
            run.tell(
                Progress(f"resuming at step {resumed.stamp.step}", resumed.stamp.step, run.schedule.max_steps)
            )
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
    ended = latest_checkpoint(folder.checkpoints, run.identity)
    if ended is None or not ended.stamp.stopped:
        raise TrainingError(f"the training in {folder.root} ended without a last checkpoint; run it again")
    curve = validation_curve(ended.log)
    return TrainedRun(
        identity=run.identity,
        identity_digest=run.identity.digest,
        recipe=run.recipe.name,
        base_model=base.name,
        base_model_revision=base.revision,
        steps=ended.stamp.step,
        best_step=best_point(curve).step,
        validation=curve,
        validation_clips=len(run.validation),
        losses=loss_curve(ended.log),
        train_clips=len(run.train),
        train_hours=float(run.train.clips.durations_s.sum()) / 3600,
        hours_heard=run.schedule.heard_s(ended.stamp.step) / 3600,
        skipped=run.train.clips.skipped,
        wall_s=ended.stamp.elapsed_s,
        device=_device(),
        precision=precision_of(run.recipe),
    )


def _publish(lake: Lake, version: str, folder: RunFolder, seen: Pointer | None) -> TrainingRecord:
    tree = lake.put_tree(folder.finished / "checkpoint")
    trained = TrainedRun.model_validate_json((folder.finished / "run.json").read_bytes())
    record = TrainingRecord(**dict(trained), version=version, tree=tree)
    value = {
        "tree": tree,
        "record": lake.put_json(record.model_dump(mode="json")),
        "identity": trained.identity_digest,
    }
    try:
        lake.move_pointer(checkpoint_pointer(version), value, seen)
    except PointerMovedError as error:
        now = _published(lake, version)
        if now.identity_digest == trained.identity_digest:
            return now
        raise TrainingError(
            f"{checkpoint_pointer(version)} was moved by another training (identity "
            f"{now.identity_digest[:12]}) while this one ({trained.identity_digest[:12]}) ran; its result stays "
            f"in {folder.finished}. Run this one again to publish it over the other, or give it the next version"
        ) from error
    return record


def _published(lake: Lake, version: str) -> TrainingRecord:
    record = published_record(lake, version)
    if record is None:
        raise TrainingError(
            f"{checkpoint_pointer(version)} vanished; the lake {lake.url} is being changed by hand"
        )
    return record


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads"
