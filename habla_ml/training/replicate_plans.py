"""One training again: plans of `v2-s2`, `v2-s3`, … with other seeds, and of `v2-p25`, `v2-p50`, … on less speech.

Snapshot and recipe are those of `v2` in everything else. Trainings that differ by nothing but the seed do not hear the
same: how far they lie apart says which difference between versions is a property of data and recipe. The seed orders
the clips and draws all that is random, in a first stage too, which is therefore trained again. Trainings on a part of
the sessions are points of a learning curve.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

import yaml
from pydantic import ValidationError

from habla_ml.errors import TrainingError
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import FIRST_REPLICATE, is_subset_run, parent_version, replicate_name, subset_run_name
from habla_ml.training.plan import VersionPlan, read_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import read_training_record


def plan_replicates(lake: Lake, version: str, seeds: Sequence[int], folder: Path) -> list[VersionPlan]:
    """Plans of `version` with each of `seeds`, in their order; those that were planned before as they are.

    Args:
        lake: Where plans and recipes are.
        version: A trained version, itself no repeat.
        seeds: Whole numbers from 0, all different and none that of the version's own recipe.
        folder: Where recipes are laid down to be read.

    Raises:
        TrainingError: `version` is a repeat or was not trained, or the seeds are not as above.
    """
    plan = _require_trained_plan(lake, version)
    recipe = load_recipe(write_recipe_file(lake, plan, folder))
    _check_seeds(seeds, recipe, version)
    planned = _read_planned_replicates(lake, version, folder)
    for seed in seeds:
        if seed not in planned:
            taken = {each.version for each in planned.values()}
            names = (replicate_name(version, nth) for nth in count(FIRST_REPLICATE))
            name = next(each for each in names if each not in taken)
            planned[seed] = _pin_variant(lake, plan, recipe, name, "seed", seed)
    return [planned[seed] for seed in seeds]


def plan_next_replicates(lake: Lake, version: str, n_replicates: int, folder: Path) -> list[VersionPlan]:
    """`plan_replicates` with the numbers that follow the recipe's own seed; the same ones each time it is asked."""
    own = load_recipe(write_recipe_file(lake, _require_trained_plan(lake, version), folder)).seed
    return plan_replicates(lake, version, range(own + 1, own + 1 + n_replicates), folder)


def plan_subset_runs(lake: Lake, version: str, percents: Sequence[int], folder: Path) -> list[VersionPlan]:
    """Plans of `version` trained on so many per cent of its train split's sessions; those planned before as they are.

    Args:
        lake: Where plans and recipes are.
        version: A trained version, itself no repeat.
        percents: From 1 to 99, all different.
        folder: Where recipes are laid down to be read.

    Raises:
        TrainingError: `version` is a repeat or was not trained, or the percents are not as above.
    """
    plan = _require_trained_plan(lake, version)
    if not percents or len(set(percents)) < len(percents) or not all(1 <= each <= 99 for each in percents):
        raise TrainingError(
            f"{list(percents)} are no parts of {version}; name at least one, each from 1 to 99 per cent and only once"
        )
    recipe = load_recipe(write_recipe_file(lake, plan, folder))
    planned = []
    for percent in percents:
        name = subset_run_name(version, percent)
        share = round(recipe.train_share * percent / 100, 4)
        exists = lake.read_pointer(catalogue.PLAN.name(name)) is not None
        planned.append(
            read_plan(lake, name) if exists else _pin_variant(lake, plan, recipe, name, "train_share", share)
        )
    return planned


def replace_recipe_value(text: str, recipe: Recipe, key: str, value: float) -> str:
    """The YAML `text` of `recipe` with another value: the one line changed, or, where there is none, one added.

    Comments stay. A file that is written in another way, as a flow mapping for instance, is written anew.
    """
    wanted = recipe.model_copy(update={key: value})
    line = f"{key}: {value}"
    changed, lines = re.subn(rf"^{key}:[ \t]*[^\s#]+", line, text, flags=re.MULTILINE)
    if not lines:
        changed = f"{text.rstrip()}\n{line}\n"
    if _is_read_as(changed, wanted):
        return changed
    plain = recipe.model_dump(mode="json", exclude_unset=True) | {key: value}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _pin_variant(lake: Lake, plan: VersionPlan, recipe: Recipe, name: str, key: str, value: float) -> VersionPlan:
    """Pin `plan` under another name, its recipe changed at one key."""
    text = replace_recipe_value(lake.get_bytes(plan.recipe).decode("utf-8"), recipe, key, value)
    made = VersionPlan(name, plan.snapshot, lake.put_bytes(text.encode("utf-8")), plan.corpus_hours)
    lake.move_pointer(catalogue.PLAN.name(name), asdict(made), None)
    return made


def _is_read_as(text: str, wanted: Recipe) -> bool:
    try:
        return Recipe.model_validate(yaml.safe_load(text)).model_dump() == wanted.model_dump()
    except (yaml.YAMLError, ValidationError):
        return False


def _require_trained_plan(lake: Lake, version: str) -> VersionPlan:
    if (repeated := parent_version(version)) is not None:
        raise TrainingError(f"{version} is itself a repeat; repeat {repeated}")
    plan = read_plan(lake, version)
    if read_training_record(lake, version) is None:
        raise TrainingError(
            f"model version {version} was not trained to its end; materialise `fine_tuned_checkpoint` for it, then "
            "repeat it"
        )
    return plan


def _check_seeds(seeds: Sequence[int], recipe: Recipe, version: str) -> None:
    if recipe.seed in seeds:
        raise TrainingError(
            f"seed {recipe.seed} is that of {version} itself and would give the same model again; name other seeds"
        )
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise TrainingError(
            f"{list(seeds)} are no seeds to repeat {version} with; name at least one, each 0 or more and only once"
        )


def _read_planned_replicates(lake: Lake, version: str, folder: Path) -> dict[int, VersionPlan]:
    """The repeats that were planned before, by seed."""
    names = catalogue.PLAN.keys(lake)
    plans = [
        read_plan(lake, name) for name in names if parent_version(name) == version and not is_subset_run(name)
    ]
    return {load_recipe(write_recipe_file(lake, plan, folder)).seed: plan for plan in plans}
