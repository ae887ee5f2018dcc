"""The plan of a model version: snapshot and recipe, pinned at its first training.

A later training of the same version uses the pinned snapshot and recipe; newer data need a newer version. A plan is
stored in the pointer `models/<version>/plan`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from habla_ml.corpus.hours import corpus_hours
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import SettingsError, TrainingError
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import is_version, parent_version, version_number
from habla_ml.settings import SpeechSource, TrainingSettings
from habla_ml.training.recipe import HubStart, Recipe, load_recipe


@dataclass(frozen=True)
class VersionPlan:
    """The inputs of one model version."""

    version: str
    snapshot: str
    recipe: str
    """Object id of the recipe file's bytes."""
    corpus_hours: float
    """Usable hours of the corpus at planning; the growth rule counts from here."""


def plan_version(
    lake: Lake,
    version: str,
    snapshot: Snapshot,
    training: TrainingSettings,
    choose_start: Callable[[], HubStart | None] = lambda: None,
) -> VersionPlan:
    """Return the pinned plan of `version`, or pin that of `propose_plan`, whose errors it raises; nothing is pinned then."""
    plan = propose_plan(lake, version, snapshot, training, choose_start)
    pin_plan(lake, plan)
    return plan


def propose_plan(
    lake: Lake,
    version: str,
    snapshot: Snapshot,
    training: TrainingSettings,
    choose_start: Callable[[], HubStart | None] = lambda: None,
) -> VersionPlan:
    """Return the pinned plan of `version`, or one with `snapshot` and the settings' recipe that is not pinned.

    `choose_start` returns the model that a new version continues from; the recipe gets it as a section.

    Raises:
        SettingsError: The recipe is invalid, or disagrees with the settings.
        TrainingError: `version` is a replicate without a plan; `plan_replicates` makes it.
    """
    if (existing := find_plan(lake, version)) is not None:
        return existing
    if (parent := parent_version(version)) is not None:
        raise TrainingError(
            f"{version} is a replicate of {parent} without a plan; plan it with the command `repeat` of habla-ml"
        )
    recipe = load_recipe(training.recipe)
    resolve_first_stage_sources(recipe, training)
    text = add_start(training.recipe.read_text("utf-8-sig"), recipe, choose_start())
    return VersionPlan(version, snapshot.id, lake.put_bytes(text.encode()), corpus_hours(lake))


def pin_plan(lake: Lake, plan: VersionPlan) -> None:
    """Pin the plan of its version, unless the version has a plan; raise `TrainingError` for a name of another form.

    Nothing would ever evaluate or release what was trained under a name such as `3` or `V3`.
    """
    if find_plan(lake, plan.version) is None:
        if not is_version(plan.version):
            raise TrainingError(f"{plan.version!r} is no model version; name it v and a number, such as v3")
        lake.move_pointer(catalogue.PLAN.name(plan.version), asdict(plan), None)


def check_planned_inputs(
    lake: Lake, plan: VersionPlan, snapshot: str | None, recipe: Path | None, folder: Path
) -> None:
    """Raise `TrainingError` if a person asks for another snapshot or recipe than the version's pinned ones.

    None asks for nothing. The pinned recipe may have a section `start` that planning added.
    """
    if snapshot is not None and snapshot != plan.snapshot:
        raise TrainingError(
            f"{plan.version} is pinned to snapshot {plan.snapshot}, not {snapshot}; leave --snapshot out or train a new version"
        )
    if recipe is None:
        return
    asked, pinned = load_recipe(recipe), load_recipe(write_recipe_file(lake, plan, folder))
    if asked.model_copy(update={"start": asked.start or pinned.start}) != pinned:
        raise TrainingError(
            f"{recipe} differs from the recipe {pinned.name} to which {plan.version} is pinned; leave --recipe out or train "
            "a new version"
        )


def add_start(text: str, recipe: Recipe, start: HubStart | None) -> str:
    """Return the YAML `text` of `recipe` with the section `start`.

    Raises:
        SettingsError: The recipe has a `start` or a `first_stage` itself.
    """
    if start is None:
        return text
    for key in ("start", "first_stage"):
        if getattr(recipe, key) is not None:
            raise SettingsError(
                f"training.continue_from is set, but recipe {recipe.name} has a section {key} itself; remove one of them"
            )
    return f'{text.rstrip()}\nstart:\n  repository: {start.repository}\n  revision: "{start.revision}"\n'


def resolve_first_stage_sources(recipe: Recipe, training: TrainingSettings) -> tuple[SpeechSource, ...]:
    """Return the sources of the first stage of `recipe`; empty if it has none.

    A pinned recipe without a first stage ignores the sources if the settings' own, newer recipe has a first stage.

    Raises:
        SettingsError: The recipe has a first stage but the settings name no sources, or neither `recipe` nor the
            settings' own recipe uses the sources.
    """
    if recipe.first_stage is not None:
        if not training.first_stage:
            raise SettingsError(
                f"recipe {recipe.name} has the section first_stage, but training.first_stage in the settings names "
                "no source; name general speech there or remove the section"
            )
        return training.first_stage
    if training.first_stage and load_recipe(training.recipe).first_stage is None:
        raise SettingsError(
            f"training.first_stage in the settings names {training.first_stage[0].path}, but recipe {recipe.name} "
            "has no section first_stage; add the section or remove the source"
        )
    return ()


def find_plan(lake: Lake, version: str) -> VersionPlan | None:
    """Return the pinned plan, or None."""
    pointer = lake.read_pointer(catalogue.PLAN.name(version))
    return None if pointer is None else VersionPlan(**pointer.value)


def read_plan(lake: Lake, version: str) -> VersionPlan:
    """Return the pinned plan; raises `TrainingError` if the version has none."""
    plan = find_plan(lake, version)
    if plan is None:
        raise TrainingError(
            f"model version {version} has no plan; materialise `fine_tuned_checkpoint` for it. If it was trained without "
            "Dagster, repeat that command: it pins the plan and trains nothing again"
        )
    return plan


def write_recipe_file(lake: Lake, plan: VersionPlan, folder: Path) -> Path:
    """Write the pinned recipe to a YAML file in `folder` and return its path.

    A file that a full disk or a power loss cut is written again: half a recipe is often a valid one.
    """
    path, text = folder / f"recipe-{plan.recipe[:16]}.yaml", lake.get_bytes(plan.recipe)
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # another process can read the file now
        try:
            unfinished.write_bytes(text)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def list_evaluated_trainings(lake: Lake) -> list[VersionPlan]:
    """Return the plans of the trained and evaluated versions, oldest first, without replicates.

    A version without a report does not count: a new run of the version resumes it.
    """
    return sorted(_list_evaluated_plans(lake, replicates=False), key=lambda plan: version_number(plan.version))


def list_evaluated_replicates(lake: Lake) -> list[VersionPlan]:
    """Return the plans of the trained and evaluated replicates, by name."""
    return sorted(_list_evaluated_plans(lake, replicates=True), key=lambda plan: plan.version)


def _list_evaluated_plans(lake: Lake, *, replicates: bool) -> list[VersionPlan]:
    versions = [each for each in catalogue.REPORT.keys(lake) if (parent_version(each) is not None) is replicates]
    return [VersionPlan(**pointer.value) for pointer in catalogue.PLAN.read(lake, versions).list_pointers()]
