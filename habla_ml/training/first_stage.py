"""The first stage of a recipe: the base model on general speech, before it hears the classroom.

It depends on no snapshot and no version, so its result stands in the lake under its own identity (base model, the
stage written out in full, sources with their licences, seed, versions): the first version that needs it trains it,
in the same process, and later ones find it. General speech stays outside the corpus here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.clips import select_sample
from habla_ml.training.identity import RunIdentity
from habla_ml.training.non_speech import NonSpeech
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import (
    FirstStageRecord,
    TrainedRun,
    first_stage_pointer_name,
    read_first_stage_record,
)
from habla_ml.training.run import TrainingData, finish_run, get_run_folder, read_finished_run
from habla_ml.training.trainer import Progress

_CLIPS_PER_HELD_OUT_CLIP = 10
"""At most one clip in so many is held out to validate on."""


def train_first_stage(
    lake: Lake,
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    speech: GeneralSpeech,
    work_folder: Path,
    progress: Callable[[Progress], None],
) -> FirstStageRecord:
    """The first stage of `recipe` on `speech`, known as `identity`: found in the lake, or trained and published now.

    Resumes what an earlier call in the same `work_folder` left unfinished. The caller holds that folder's lock.

    Raises:
        TrainingError: There is no usable clip to train or to validate on, or the loss is not finite.
    """
    folder = get_run_folder(work_folder, identity)

    def report_progress(update: Progress) -> None:
        progress(replace(update, message=f"first stage: {update.message}"))

    record = read_first_stage_record(lake, identity)
    if record is not None:
        report_progress(Progress(f"trained before with identity {identity.digest[:12]}: nothing to do"))
    else:
        if not folder.finished.exists():
            stage = recipe.to_first_stage_recipe()
            train, validation = split_held_out(speech.utterances, stage.validation_clips)
            remedy = "name more general speech in training.first_stage"
            sounds = NonSpeech(stage.non_speech_share, stage.seed)
            training_data = TrainingData("general speech", train, validation, speech.sources, remedy, sounds)
            finish_run(stage, identity, base, base.folder, training_data, folder, report_progress)
        record = _publish_first_stage(lake, identity, folder.finished / "checkpoint", read_finished_run(folder))
        report_progress(Progress(f"published: checkpoint tree {record.tree[:12]}, step {record.best_step}"))
    folder.clear()
    return record


def split_held_out(
    utterances: Sequence[Utterance], n_clips: int
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """Clips to train on, and at most `n_clips` and a tenth of all to validate on; always the same.

    Whole voices are held out, those whose names hash lowest; single clips only where every voice is too large.
    """
    most = min(n_clips, max(1, len(utterances) // _CLIPS_PER_HELD_OUT_CLIP))
    voices: dict[str, list[str]] = {}
    for each in utterances:
        voices.setdefault(each.session_id, []).append(each.segment_id)
    held: set[str] = set()
    for voice in sorted(voices, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(held) + len(voices[voice]) <= most:
            held.update(voices[voice])
    held = held or {each.segment_id for each in select_sample(utterances, most)}
    train = tuple(each for each in utterances if each.segment_id not in held)
    return train, tuple(each for each in utterances if each.segment_id in held)


def _publish_first_stage(
    lake: Lake, identity: RunIdentity, checkpoint: Path, trained: TrainedRun
) -> FirstStageRecord:
    record = FirstStageRecord(**dict(trained), tree=lake.put_tree(checkpoint))
    value = {"tree": record.tree, "record": lake.put_json(record.model_dump(mode="json"))}
    try:
        lake.move_pointer(first_stage_pointer_name(identity), value, None)
    except PointerMovedError:
        # Another training of the same identity was quicker; its result is as good, and versions share one.
        found = read_first_stage_record(lake, identity)
        if found is None:
            raise
        return found
    return record
