"""What is known of a trained version: where it came from, how it went, and where its checkpoint is."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoints import LossPoint
from habla_ml.training.identity import RunIdentity
from habla_ml.training.validation import ValidationPoint


class TrainedRun(BaseModel):
    """A finished run, before it has a version and a place in the lake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: RunIdentity
    identity_digest: str
    recipe: str
    """Name of the recipe."""
    base_model: str
    base_model_revision: str | None
    steps: int
    """Optimiser steps done."""
    best_step: int
    """The step whose weights are published."""
    validation: tuple[ValidationPoint, ...]
    validation_clips: int
    losses: tuple[LossPoint, ...]
    train_clips: int
    train_hours: float
    hours_heard: float
    """Clips of all steps; above `train_hours` where clips were heard again."""
    skipped: Mapping[str, int]
    """Training clips left out, by reason."""
    wall_s: float
    """Time of training, over all attempts that led here."""
    device: str
    precision: str
    non_speech_clips: int = 0
    """Training clips in which nobody speaks; neither in `train_clips` nor in `train_hours`."""
    general_speech: tuple[SpeechSourceSummary, ...] = ()
    """General speech that was heard, each source with its licence and origin."""

    @property
    def best(self) -> ValidationPoint:
        """The evaluation of the published weights."""
        return next(point for point in self.validation if point.step == self.best_step)


class FirstStageRecord(TrainedRun):
    """A published first stage, which heard general speech alone: `first_stages/<identity>/checkpoint` names it."""

    tree: str
    """Tree id of the checkpoint folder in the lake."""


class TrainingRecord(TrainedRun):
    """A published version: `models/<version>/checkpoint` names this record."""

    version: str
    tree: str
    """Tree id of the checkpoint folder in the lake."""
    first_stage: FirstStageRecord | None = None
    """What this run started from, in place of the base model; None where it started from the base model."""


def first_stage_pointer_name(identity: RunIdentity) -> str:
    """The pointer that names a first stage's checkpoint: `{"tree", "record"}`."""
    return catalogue.FIRST_STAGE.name(identity.digest)


def read_training_record(lake: Lake, version: str) -> TrainingRecord | None:
    """The record of the checkpoint that a version has now, or None."""
    pointer = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    return None if pointer is None else TrainingRecord.model_validate(lake.get_json(pointer.value["record"]))


def read_first_stage_record(lake: Lake, identity: RunIdentity) -> FirstStageRecord | None:
    """The record of the first stage of this identity, or None where it was never trained."""
    pointer = lake.read_pointer(first_stage_pointer_name(identity))
    return None if pointer is None else FirstStageRecord.model_validate(lake.get_json(pointer.value["record"]))
