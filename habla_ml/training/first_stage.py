"""The first stage of a recipe: training of the base model on general speech, before the classroom data.

It depends on no snapshot and no model version. The lake stores its result under an identity of its own (base model,
complete recipe of the stage, sources with licences, seed, package versions). The first version that needs it trains it
in the same process; later versions reuse it. General speech never enters the corpus.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake, catalogue
from habla_ml.names import choose_spellings
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.clips import NonSpeech, select_sample
from habla_ml.training.identity import RunIdentity
from habla_ml.training.keeper import TrainingKeeper
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import FirstStageRecord, read_first_stage_record
from habla_ml.training.run import RunFolder, TrainingData, finish_run, read_finished_run
from habla_ml.training.trainer import Progress

_CLIPS_PER_HELD_OUT_CLIP = 10


def find_first_stage(lake: Lake, identity: RunIdentity) -> FirstStageRecord | None:
    """Return the published first stage with this identity, else one with its inputs; None without any."""
    if (exact := read_first_stage_record(lake, identity)) is not None:
        return exact
    pointers = catalogue.FIRST_STAGE.read(lake).list_pointers()
    records = (FirstStageRecord.model_validate(lake.get_json(each.value["record"])) for each in pointers)
    return next((each for each in records if identity.has_inputs_of(each.identity)), None)


def train_first_stage(
    lake: Lake,
    recipe: Recipe,
    identity: RunIdentity,
    base: WhisperBaseModel,
    speech: GeneralSpeech,
    work_folder: Path,
    progress: Callable[[Progress], None],
    keeper: TrainingKeeper | None = None,
) -> FirstStageRecord:
    """Return the first stage with this identity from the lake, or train and publish it.

    Resumes an unfinished run from `work_folder`, or from a later checkpoint in the lake. The caller holds the lock of that
    folder. `keeper` is that of the version's own run.

    Raises:
        TrainingError: There are no usable clips for training or validation, or the loss is not finite.
        TrainingLeasedError: Another process trains this stage.
    """
    folder = RunFolder(work_folder, identity)

    def report_progress(update: Progress) -> None:
        progress(replace(update, message=f"first stage: {update.message}", is_first_stage=True))

    record = read_first_stage_record(lake, identity)
    if record is not None:
        report_progress(Progress(f"reusing the published checkpoint of identity {identity.digest[:12]}"))
    else:
        with nullcontext() if keeper is None else keeper.keep_stage(identity, folder.root) as stage_keeper:
            if not folder.finished.exists():
                stage = recipe.to_first_stage_recipe()
                data = build_stage_data(stage, speech)
                finish_run(stage, identity, base, base.folder, data, folder, report_progress, stage_keeper)
            record = publish_first_stage(lake, identity, folder, stage_keeper)
            if stage_keeper is not None:
                stage_keeper.finish()
        report_progress(Progress(f"published: checkpoint tree {record.tree[:12]}, step {record.best_step}"))
    folder.clear()
    return record


def build_stage_data(stage: Recipe, speech: GeneralSpeech) -> TrainingData:
    """Return the data of a first stage with the complete recipe `stage`."""
    train, validation = split_held_out(speech.utterances, stage.validation_clips)
    remedy = "name more general speech in training.first_stage"
    non_speech = NonSpeech(stage.non_speech_share, stage.seed)
    return TrainingData("general speech", train, validation, speech.sources, remedy, non_speech)


def split_held_out(
    utterances: Sequence[Utterance], n_clips: int
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """Split clips into training clips and a reproducible validation set of at most `n_clips` and a tenth of all.

    The validation set has all clips of the speakers with the smallest hashes of their names. If every speaker has too
    many clips, it has single clips.
    """
    most = min(n_clips, max(1, len(utterances) // _CLIPS_PER_HELD_OUT_CLIP))
    clips_by_speaker: dict[str, list[str]] = defaultdict(list)
    shown = choose_spellings(each.session_id for each in utterances)
    for each in utterances:
        clips_by_speaker[shown[each.session_id]].append(each.segment_id)
    held: set[str] = set()
    for speaker in sorted(clips_by_speaker, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(held) + len(clips_by_speaker[speaker]) <= most:
            held.update(clips_by_speaker[speaker])
    held = held or {each.segment_id for each in select_sample(utterances, most)}
    train = tuple(each for each in utterances if each.segment_id not in held)
    return train, tuple(each for each in utterances if each.segment_id in held)


def publish_first_stage(
    lake: Lake, identity: RunIdentity, folder: RunFolder, keeper: TrainingKeeper | None = None
) -> FirstStageRecord:
    """Store a finished first stage and return its record, or that of another training which published it first."""
    record = FirstStageRecord(**dict(read_finished_run(folder)), tree=lake.put_tree(folder.finished / "checkpoint"))
    value = {"tree": record.tree, "record": lake.put_json(record.model_dump(mode="json"))}
    if keeper is not None:
        keeper.confirm_lease()
    try:
        lake.move_pointer(catalogue.FIRST_STAGE.name(identity.digest), value, None)
    except PointerMovedError:
        # Another training of the same identity published first; use its result.
        if (found := read_first_stage_record(lake, identity)) is None:
            raise
        return found
    return record
