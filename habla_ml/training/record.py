"""The record of a trained version: its inputs, its training curves and its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from habla_ml.code_identity import CodeIdentity
from habla_ml.corpus.general_speech import SpeechSourceSummary, count_evaluation_audio
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoints import LossPoint, ValidationPoint
from habla_ml.training.identity import RunIdentity
from habla_ml.training.remedies import Remedies


class TrainedRun(BaseModel):
    """A finished run, before publishing."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    identity: RunIdentity
    identity_digest: str
    recipe: str
    """Name of the recipe."""
    base_model: str
    base_model_revision: str | None
    steps: int
    best_step: int
    """Step of the published weights."""
    validation: tuple[ValidationPoint, ...]
    validation_clips: int
    losses: tuple[LossPoint, ...]
    train_clips: int
    train_hours: float
    processed_hours: float = Field(validation_alias="hours_heard", serialization_alias="hours_heard")
    """Hours of the clips of all steps; above `train_hours` if clips repeat."""
    skipped: Mapping[str, int]
    """Reason → unusable training clips."""
    wall_s: float
    """Training time, over all attempts."""
    device: str
    precision: str
    non_speech_clips: int = 0
    """Training clips without speech; neither in `train_clips` nor in `train_hours`."""
    general_speech: tuple[SpeechSourceSummary, ...] = ()
    code: tuple[CodeIdentity, ...] = ()
    """The code of all attempts, the oldest first; several where an attempt resumed under other code."""
    remedies: Remedies = Remedies()
    """How a part of the run differed from its recipe."""
    start_validation: ValidationPoint | None = None
    """The evaluation of the initial model; None without bounds for the checkpoints."""
    choice: str = ""
    """Why `best_step` was chosen; empty where it has the lowest WER and there are no bounds."""
    averaged_steps: tuple[int, ...] = ()
    """Steps whose mean weights are published, the best first; empty for those of `best_step` alone."""
    average: ValidationPoint | None = None
    """The evaluation of the mean weights."""
    processes: tuple[int, ...] = (1,)
    """How many processes computed together, in each attempt whose number was another. The steps do not depend on it."""

    @property
    def best(self) -> ValidationPoint:
        """The evaluation of the published weights."""
        if self.average is not None:
            return self.average
        return next(point for point in self.validation if point.step == self.best_step)


class StartRecord(BaseModel):
    """A model of a hub in the lake; the pointer `hub_starts/<digest>/checkpoint` has these values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    revision: str
    """Commit, 40 hex digits."""
    tree: str
    """Tree id in the lake; equal to that of the version's checkpoint, where the lake trained it."""
    model_version: str | None = None
    """As its publisher states; None if it has no record."""
    snapshot: str | None = None
    """That it was trained on, as its publisher states."""


class FirstStageRecord(TrainedRun):
    """A published first stage; the pointer `first_stages/<identity>/checkpoint` names it."""

    tree: str
    """Tree id of the checkpoint folder in the lake."""


class TrainingRecord(TrainedRun):
    """A published version; the pointer `models/<version>/checkpoint` names it."""

    version: str
    tree: str
    first_stage: FirstStageRecord | None = None
    """First stage from which this run started; None if it started from the base model."""
    start: StartRecord | None = None
    """Model that this run continued from; None if it started from the base model or a first stage."""
    excluded_copies: Mapping[str, int] = {}
    """`train` or `non-speech` → classroom clips left out because they nearly equal evaluation data."""

    @property
    def evaluation_audio_left_out(self) -> dict[str, int]:
        """The part of the training data → clips left out because they equal or nearly equal evaluation data."""
        first = () if self.first_stage is None else self.first_stage.general_speech
        general = {
            "first stage": count_evaluation_audio(first),
            "general speech": count_evaluation_audio(self.general_speech),
        }
        return {**self.excluded_copies, **{part: n for part, n in general.items() if n}}


def read_training_record(lake: Lake, version: str) -> TrainingRecord | None:
    """Return the record of a version's current checkpoint, or None."""
    pointer = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    return None if pointer is None else TrainingRecord.model_validate(lake.get_json(pointer.value["record"]))


def read_first_stage_record(lake: Lake, identity: RunIdentity) -> FirstStageRecord | None:
    """Return the record of the first stage with this identity, or None."""
    pointer = lake.read_pointer(catalogue.FIRST_STAGE.name(identity.digest))
    return None if pointer is None else FirstStageRecord.model_validate(lake.get_json(pointer.value["record"]))
