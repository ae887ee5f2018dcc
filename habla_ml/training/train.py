"""Trains one model version and publishes its checkpoint: the same inputs end with the same artefact.

Killed at any point, the next call goes on: from the last stamped checkpoint, from the finished folder, or from
the published pointer; so does its first stage. The folder of a run is named by its identity and held by a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.audio import decode_flac, quantised
from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.corpus.without_speech import segments_without_speech
from habla_ml.errors import PointerMovedError, TrainingError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.clips import part_of, sample_of
from habla_ml.training.first_stage import train_first_stage
from habla_ml.training.identity import RunIdentity
from habla_ml.training.non_speech import NonSpeech
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import FirstStageRecord, TrainingRecord, published_record
from habla_ml.training.run import Material, RunFolder, finish_run, finished_run, run_folder
from habla_ml.training.speech import HeardSpeech
from habla_ml.training.trainer import Progress
from habla_ml.training.windows import FRAMES_PER_S, FULL_FRAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NOTHING = HeardSpeech()
_MOST_MARKED = 2_000
"""Segments without speech that are read at most."""


def train_version(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    version: str,
    work_folder: Path,
    progress: Callable[[Progress], None],
    heard: HeardSpeech = _NOTHING,
) -> TrainingRecord:
    """Train `recipe` on `snapshot` and move `models/<version>/checkpoint` to the result.

    `heard` is general speech: that of the recipe's first stage, and that which is heard beside the snapshot's train
    split so that it is not forgotten.

    Does no work where that pointer already carries this identity. Resumes what an earlier call in the same
    `work_folder` left unfinished.

    Raises:
        TrainingError: Another process trains in `work_folder`, the snapshot (or the first stage) has no clips to
            train or validate on, the base model cannot be had, the loss is not finite, or another run moved the
            pointer meanwhile.
    """
    base = resolve_base_model(recipe)
    stage = None
    if recipe.first_stage is not None:
        stage = RunIdentity.of_first_stage(recipe, base, heard.first_stage)
    identity = RunIdentity.of(recipe, snapshot.id, base, heard.replay, stage)
    with exclusive(work_folder):
        seen = lake.pointer(catalogue.CHECKPOINT.name(version))
        if seen is not None and seen.value["identity"] == identity.digest:
            progress(
                Progress(f"{version} is published already with identity {identity.digest[:12]}: nothing to do")
            )
            return _published(lake, version)
        first = None
        if stage is not None:
            first = train_first_stage(lake, recipe, stage, base, heard.first_stage, work_folder, progress)
        folder = run_folder(work_folder, identity)
        if not folder.finished.exists():
            start = base.folder if first is None else lake.checkout_tree(first.tree, folder.start)
            material = material_of(lake, snapshot, recipe, heard.replay)
            finish_run(recipe, identity, base, start, material, folder, progress)
        record = _publish(lake, version, folder, seen, first)
        folder.clear()
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


def material_of(lake: Lake, snapshot: Snapshot, recipe: Recipe, replay: GeneralSpeech) -> Material:
    """What a version hears: the snapshot's train split and the replay; only the classroom validates it."""
    name = f"snapshot {snapshot.id[:12]}"
    return Material(
        name=f"{name} and {len(replay.utterances)} clips of general speech" if replay.utterances else name,
        train=chain(part_of(read_utterances(lake, snapshot, "train"), recipe.train_share), replay.utterances),
        validation=sample_of(read_utterances(lake, snapshot, "validation"), recipe.validation_clips),
        general_speech=replay.sources,
        remedy="correct more sessions and publish `splits` again",
        non_speech=NonSpeech(recipe.non_speech_share, recipe.seed, _marked(lake, snapshot)),
    )


def _marked(lake: Lake, snapshot: Snapshot) -> Iterator[NDArray[np.int16]]:
    """The sounds of the train split in which people found nobody speaking."""
    for each in segments_without_speech(lake, snapshot, "train", _MOST_MARKED, FULL_FRAMES / FRAMES_PER_S):
        yield quantised(decode_flac(each.flac))


def _publish(
    lake: Lake, version: str, folder: RunFolder, seen: Pointer | None, first: FirstStageRecord | None
) -> TrainingRecord:
    tree = lake.put_tree(folder.finished / "checkpoint")
    trained = finished_run(folder)
    record = TrainingRecord(**dict(trained), version=version, tree=tree, first_stage=first)
    value = {
        "tree": tree,
        "record": lake.put_json(record.model_dump(mode="json")),
        "identity": trained.identity_digest,
    }
    try:
        lake.move_pointer(catalogue.CHECKPOINT.name(version), value, seen)
    except PointerMovedError as error:
        now = _published(lake, version)
        if now.identity_digest == trained.identity_digest:
            return now
        raise TrainingError(
            f"{catalogue.CHECKPOINT.name(version)} was moved by another training (identity "
            f"{now.identity_digest[:12]}) while this one ({trained.identity_digest[:12]}) ran; its result stays "
            f"in {folder.finished}. Run this one again to publish it over the other, or give it the next version"
        ) from error
    return record


def _published(lake: Lake, version: str) -> TrainingRecord:
    record = published_record(lake, version)
    if record is None:
        raise TrainingError(
            f"{catalogue.CHECKPOINT.name(version)} vanished; the lake {lake.url} is being changed by hand"
        )
    return record
