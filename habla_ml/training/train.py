"""Training and publishing of one model version: the same inputs give the same artefact.

After a kill at any point, the next call continues from the last stamped checkpoint, the finished folder or the
published pointer; so does the first stage. The folder of a run is named by its identity and protected by a lock, and the
run itself by a lease in the lake. On another machine the next call continues from the checkpoint in the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.audio import decode_flac, quantise
from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.non_speech_segments import read_non_speech_segments
from habla_ml.corpus.snapshot import OpenSplit, Snapshot, Utterance, locate_utterances
from habla_ml.errors import PointerMovedError, TrainingError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.process import hold_lock
from habla_ml.training.base_model import WhisperBaseModel, resolve_base_model
from habla_ml.training.clips import NonSpeech, select_sample, select_session_share
from habla_ml.training.evaluation_audio import LONGEST_CLIP_S, MAX_ANNOTATED_NON_SPEECH
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.first_stage import find_first_stage, split_held_out, train_first_stage
from habla_ml.training.identity import RunIdentity
from habla_ml.training.keeper import TrainingKeeper, discard_published_training, keep_training
from habla_ml.training.lake_checkpoints import handle_foreign_checkpoints
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import FirstStageRecord, StartRecord, TrainingRecord, read_training_record
from habla_ml.training.run import RunFolder, TrainingData, finish_run, handle_foreign_runs, read_finished_run
from habla_ml.training.start import check_same_shape, read_start
from habla_ml.training.trainer import Progress
from habla_ml.training.validation_sets import GuardClips

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_EXTRA_SPEECH = ExtraSpeech()
_GUARD_SEED: Final = 0x70
"""Of the synthesised clips without speech of a validation: the same for every recipe."""


def train_version(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    version: str,
    work_folder: Path,
    progress: Callable[[Progress], None],
    extra_speech: ExtraSpeech = _NO_EXTRA_SPEECH,
    *,
    again: bool = False,
    store_every_s: float | None = None,
) -> TrainingRecord:
    """Train `recipe` on `snapshot` and move `models/<version>/checkpoint` to the result.

    Does no work if the published version has the same inputs, whatever code, packages and machine trained it. Resumes an
    unfinished run from `work_folder`, which one training uses at a time, or from a later checkpoint in the lake. `again`
    trains from the start where code, packages or machine differ. Each `store_every_s` seconds a checkpoint goes to the
    lake; None stores none.

    Raises:
        TrainingError: Another process trains in `work_folder`, it has checkpoints of other code, packages or machine, the
            snapshot or the first stage has no usable clips, the base model is not available, the loss is not finite, or
            another run moved the pointer.
        TrainingLeasedError: Another process trains the same run in another folder or on another machine, or took it over.
        TrainingInterruptedError: The process was asked to end, and saved a checkpoint.
    """
    base = resolve_base_model(recipe)
    stage, identity = identify_training(lake, snapshot, recipe, base, extra_speech, again=again)
    with lock_work_folder(work_folder):
        seen = lake.read_pointer(catalogue.CHECKPOINT.name(version))
        published = read_training_record(lake, version)
        if published is not None and _is_published(published, identity, stage, again=again):
            discard_published_training(lake, published.identity_digest)
            progress(Progress(_describe_published(published, identity)))
            return published
        for each in filter(None, (stage, identity)):
            handle_foreign_runs(work_folder, each, discard=again)
            handle_foreign_checkpoints(lake, each, discard=again)
        folder = RunFolder(work_folder, identity)
        with keep_training(lake, version, store_every_s, identity, folder.root, _make_reporter(progress)) as keeper:
            earlier = train_in_folder(lake, snapshot, recipe, base, stage, folder, progress, extra_speech, keeper)
            record = publish_version(lake, version, folder, seen, earlier, extra_speech, keeper)
            keeper.finish()
        folder.clear()
        progress(Progress(f"{version} published: checkpoint tree {record.tree[:12]}, step {record.best_step}"))
        return record


def identify_training(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    base: WhisperBaseModel,
    extra_speech: ExtraSpeech,
    *,
    again: bool = False,
) -> tuple[RunIdentity | None, RunIdentity]:
    """Return the identities of the first stage, if the recipe has one, and of the run on classroom data.

    Unless `again`, a published first stage of other code, packages or machine is used.
    """
    stage = None
    if recipe.first_stage is not None:
        stage = RunIdentity.of_first_stage(recipe, base, extra_speech.first_stage)
        if not again and (reused := find_first_stage(lake, stage)) is not None:
            stage = reused.identity
    sounds = extra_speech.excluded_sounds
    return stage, RunIdentity.of(recipe, snapshot.id, base, extra_speech.replay, stage, sounds)


def train_in_folder(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    base: WhisperBaseModel,
    stage: RunIdentity | None,
    folder: RunFolder,
    progress: Callable[[Progress], None],
    extra_speech: ExtraSpeech,
    keeper: TrainingKeeper | None = None,
) -> tuple[FirstStageRecord | None, StartRecord | None]:
    """Train to `folder.finished`, if it does not exist; return the first stage and the model that the run continued from.

    The caller holds the lock of the work folder. Only a first stage is published. Without a `keeper` another machine can
    neither see nor resume the training.
    """
    first = None
    if stage is not None:
        speech, work_folder = extra_speech.first_stage, folder.root.parent
        first = train_first_stage(lake, recipe, stage, base, speech, work_folder, progress, keeper)
    continued = None if recipe.start is None else read_start(lake, recipe.start)
    if not folder.finished.exists():
        earlier = first or continued
        start = base.folder if earlier is None else lake.checkout_tree(earlier.tree, folder.start)
        check_same_shape(base, start)
        training_data = build_training_data(lake, snapshot, recipe, extra_speech.replay, extra_speech.excluded_sounds)
        finish_run(recipe, folder.identity, base, start, training_data, folder, progress, keeper)
    return first, continued


def _make_reporter(progress: Callable[[Progress], None]) -> Callable[[str], None]:
    return lambda message: progress(Progress(message))


def _is_published(record: TrainingRecord, identity: RunIdentity, stage: RunIdentity | None, *, again: bool) -> bool:
    """Return whether `record` is the result of this training; with `again`, of the same code, packages and machine too."""
    if again or record.identity_digest == identity.digest:
        return record.identity_digest == identity.digest
    first = None if record.first_stage is None else record.first_stage.identity
    same_stage = first is None if stage is None else first is not None and stage.has_inputs_of(first)
    return same_stage and identity.has_inputs_of(record.identity)


def _describe_published(record: TrainingRecord, identity: RunIdentity) -> str:
    text = f"{record.version} is already published with identity {record.identity_digest[:12]}; nothing to do"
    if differences := identity.describe_differences(record.identity):
        text += f". It was trained with {differences}; to train it again here, set train_again or pass --again"
    return text


def lock_work_folder(work_folder: Path) -> AbstractContextManager[None]:
    """Hold the work folder's lock; raises `TrainingError` if another process holds it."""
    return hold_lock(
        work_folder / "lock",
        lambda holder: TrainingError(
            f"{work_folder} is in use by training process {holder}; wait until it ends, stop it, or train in another folder"
        ),
    )


def build_training_data(
    lake: Lake,
    snapshot: Snapshot,
    recipe: Recipe,
    replay: GeneralSpeech,
    excluded_sounds: Collection[str] = frozenset(),
) -> TrainingData:
    """Return the snapshot's train split with replay for training, and its validation split for validation.

    `excluded_sounds` is the sha256 of train and non-speech audio that nearly equals evaluation data.
    """
    name, bounds, guards = f"snapshot {snapshot.id[:12]}", recipe.validation_bounds, None
    general: Sequence[Utterance] = replay.utterances
    if bounds is not None:
        held: Sequence[Utterance] = ()
        if general:
            general, held = split_held_out(general, bounds.general_clips)
        marked = _read_annotated_non_speech(lake, snapshot, excluded_sounds, "validation")
        guards = GuardClips(tuple(held), NonSpeech(seed=_GUARD_SEED, annotated=marked, n_clips=bounds.non_speech_clips))
    utterances = (
        each for each in locate_utterances(lake, snapshot, "train") if each.audio_sha256 not in excluded_sounds
    )
    train = select_session_share(utterances, recipe.train_share)
    non_speech = _read_annotated_non_speech(lake, snapshot, excluded_sounds)
    return TrainingData(
        name=f"{name} and {len(general)} clips of general speech" if general else name,
        train=chain(train, general),
        validation=select_sample(locate_utterances(lake, snapshot, "validation"), recipe.validation_clips),
        general_speech=replay.sources,
        remedy="correct more sessions and publish `splits` again",
        non_speech=NonSpeech(recipe.non_speech_share, recipe.seed, non_speech),
        guards=guards,
        lake=lake,
    )


def _read_annotated_non_speech(
    lake: Lake, snapshot: Snapshot, excluded_sounds: Collection[str], split: OpenSplit = "train"
) -> Iterator[NDArray[np.int16]]:
    """Yield the samples of a split's annotated non-speech segments."""
    for each in read_non_speech_segments(lake, snapshot, split, MAX_ANNOTATED_NON_SPEECH, LONGEST_CLIP_S):
        if each.audio_sha256 not in excluded_sounds:
            yield quantise(decode_flac(each.flac))


def publish_version(
    lake: Lake,
    version: str,
    folder: RunFolder,
    seen: Pointer | None,
    earlier: tuple[FirstStageRecord | None, StartRecord | None],
    extra_speech: ExtraSpeech,
    keeper: TrainingKeeper | None = None,
) -> TrainingRecord:
    """Store a finished run and move the version's pointer to it, if it is as `seen`.

    `earlier` has the first stage and the model from which the run started. `keeper` has the lease of a training here.
    """
    tree = lake.put_tree(folder.finished / "checkpoint")
    trained = read_finished_run(folder)
    excluded = {part: len(sounds) for part, sounds in extra_speech.classroom_copies.items()}
    first, start = earlier
    record = TrainingRecord(
        **dict(trained), version=version, tree=tree, first_stage=first, start=start, excluded_copies=excluded
    )
    record_id = lake.put_json(record.model_dump(mode="json"))
    value = {"tree": tree, "record": record_id, "identity": trained.identity_digest}
    if keeper is not None:
        keeper.confirm_lease()
    try:
        lake.move_pointer(catalogue.CHECKPOINT.name(version), value, seen)
    except PointerMovedError as error:
        now = _require_training_record(lake, version)
        if now.identity_digest == trained.identity_digest:
            return now
        raise TrainingError(
            f"another training (identity {now.identity_digest[:12]}) moved {catalogue.CHECKPOINT.name(version)} during "
            f"this one ({trained.identity_digest[:12]}); the result is in {folder.finished}. Run this one again to "
            "replace the other result, or train it as the next version"
        ) from error
    return record


def _require_training_record(lake: Lake, version: str) -> TrainingRecord:
    record = read_training_record(lake, version)
    if record is None:
        raise TrainingError(
            f"{catalogue.CHECKPOINT.name(version)} was deleted during the training; run it again, and do not change the "
            f"lake {lake.url} by hand"
        )
    return record
