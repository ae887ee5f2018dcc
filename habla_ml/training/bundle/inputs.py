"""The inputs of a version, as the deployment has them now: those that a bundle takes along, and a result must have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from habla_ml.corpus.snapshot import Snapshot, load_latest_snapshot, load_snapshot
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.training.base_model import WhisperBaseModel, resolve_base_model
from habla_ml.training.extra_speech import ExtraSpeech, read_extra_speech
from habla_ml.training.first_stage import find_first_stage
from habla_ml.training.identity import RunIdentity
from habla_ml.training.plan import VersionPlan, find_plan, propose_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import FirstStageRecord, StartRecord
from habla_ml.training.start import choose_start, import_start


@dataclass(frozen=True)
class VersionInputs:
    """The inputs of a version, and the identities of its runs on this machine."""

    plan: VersionPlan
    recipe: Recipe
    snapshot: Snapshot
    base: WhisperBaseModel
    extra_speech: ExtraSpeech
    start: StartRecord | None
    stage: RunIdentity | None
    """Of the first stage; None without one."""
    published_stage: FirstStageRecord | None
    """The first stage, if the lake has it."""
    identity: RunIdentity


def read_version_inputs(lake: Lake, settings: Settings, version: str) -> VersionInputs:
    """Return the inputs of the version's plan, or of one that is not pinned yet.

    Raises:
        HablaError: As a training.
    """
    pinned = find_plan(lake, version)
    snapshot = load_latest_snapshot(lake) if pinned is None else load_snapshot(lake, pinned.snapshot)
    plan = propose_plan(lake, version, snapshot, settings.training, partial(choose_start, settings))
    recipe = load_recipe(write_recipe_file(lake, plan, settings.work_folder))
    start = import_start(lake, recipe, settings)
    extra = read_extra_speech(lake, snapshot, recipe, settings)
    base = resolve_base_model(recipe)
    stage = published = None
    if recipe.first_stage is not None:
        stage = RunIdentity.of_first_stage(recipe, base, extra.first_stage)
        published = find_first_stage(lake, stage)
    identity = RunIdentity.of(
        recipe, snapshot.id, base, extra.replay, published.identity if published else stage, extra.excluded_sounds
    )
    return VersionInputs(plan, recipe, snapshot, base, extra, start, stage, published, identity)
