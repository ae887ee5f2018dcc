"""What a model version is made from: pinned at its first training, the same for ever after.

Training `v3` again, next year, uses the snapshot and the recipe it was pinned to; newer data make a newer
version. A plan is the pointer `models/<version>/plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from habla_ml.corpus.growth import corpus_hours
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import SettingsError, TrainingError
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version, version_number
from habla_ml.settings import SpeechSource, TrainingSettings
from habla_ml.training.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class VersionPlan:
    """The inputs of one model version."""

    version: str
    snapshot: str
    """Id of the snapshot to train on."""
    recipe: str
    """Object id of the recipe file's bytes."""
    corpus_hours: float
    """Usable hours of the corpus at that time; the growth rule counts from here."""


def plan_version(lake: Lake, version: str, snapshot: Snapshot, training: TrainingSettings) -> VersionPlan:
    """The plan of `version`: the pinned one where there is one, else `snapshot` and the settings' recipe, pinned now.

    Raises:
        SettingsError: The recipe is wrong, or disagrees with `training.first_stage`; such a one is never pinned.
        TrainingError: `version` is a repeat that was never planned; it has the recipe of what it repeats.
    """
    existing = lake.read_pointer(catalogue.PLAN.name(version))
    if existing is not None:
        return VersionPlan(**existing.value)
    if (repeated := parent_version(version)) is not None:
        raise TrainingError(
            f"{version} is to repeat {repeated} with another seed and was never planned; "
            f"plan it with the command `repeat` of habla-ml"
        )
    resolve_first_stage_sources(load_recipe(training.recipe), training)
    plan = VersionPlan(version, snapshot.id, lake.put_file(training.recipe), corpus_hours(lake))
    lake.move_pointer(catalogue.PLAN.name(version), asdict(plan), None)
    return plan


def resolve_first_stage_sources(recipe: Recipe, training: TrainingSettings) -> tuple[SpeechSource, ...]:
    """What the first stage of `recipe` hears; nothing where it has none.

    A recipe without a first stage may meet sources: those of the settings' own recipe, which came after it.

    Raises:
        SettingsError: The recipe has a first stage and there are no sources, or there are sources that neither it
            nor the settings' own recipe hears.
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


def read_plan(lake: Lake, version: str) -> VersionPlan:
    """The pinned plan; raises `TrainingError` where the version was never trained."""
    pointer = lake.read_pointer(catalogue.PLAN.name(version))
    if pointer is None:
        raise TrainingError(
            f"model version {version} was never planned; materialise `fine_tuned_checkpoint` for it"
        )
    return VersionPlan(**pointer.value)


def write_recipe_file(lake: Lake, plan: VersionPlan, folder: Path) -> Path:
    """The pinned recipe laid down as a YAML file below `folder`."""
    path = folder / f"recipe-{plan.recipe[:16]}.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lake.get_bytes(plan.recipe))
    return path


def list_evaluated_trainings(lake: Lake) -> list[VersionPlan]:
    """Plans of the versions that were trained and measured, oldest first; repeats with other seeds are not among them.

    A run that failed between the two is not good: asking for the version again resumes where it stopped.
    """
    plans = [plan for plan in _iterate_evaluated_plans(lake) if parent_version(plan.version) is None]
    return sorted(plans, key=lambda plan: version_number(plan.version))


def list_evaluated_replicates(lake: Lake) -> list[VersionPlan]:
    """Plans of the repeats with other seeds that were trained and measured, by name."""
    plans = [plan for plan in _iterate_evaluated_plans(lake) if parent_version(plan.version) is not None]
    return sorted(plans, key=lambda plan: plan.version)


def _iterate_evaluated_plans(lake: Lake) -> Iterator[VersionPlan]:
    for version in catalogue.REPORT.keys(lake):
        pointer = lake.read_pointer(catalogue.PLAN.name(version))
        if pointer is not None:
            yield VersionPlan(**pointer.value)
