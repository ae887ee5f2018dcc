"""Plans of replicates (`v2-s2`, `v2-s3`, … with other seeds) and subset runs (`v2-p25`, … on fewer sessions).

Snapshot and recipe are otherwise those of `v2`. Replicates differ only in the seed, so the spread of their error rates
shows which differences between versions are due to data and recipe. The seed determines the order of the clips and all
random numbers, also in a first stage, which is therefore trained again. Subset runs are points of a learning curve.
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
from habla_ml.settings.yaml_loader import load_yaml
from habla_ml.training.plan import VersionPlan, read_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import read_training_record


def plan_replicates(lake: Lake, version: str, seeds: Sequence[int], folder: Path) -> list[VersionPlan]:
    """Return plans of `version` with each of `seeds`, in order; existing plans are kept.

    Recipe files are written to `folder`. The seeds are distinct, non-negative and not that of the version's own recipe.

    Raises:
        TrainingError: `version` is a replicate or has no checkpoint, or the seeds are invalid.
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
    """Call `plan_replicates` with the numbers that follow the recipe's own seed."""
    own = load_recipe(write_recipe_file(lake, _require_trained_plan(lake, version), folder)).seed
    return plan_replicates(lake, version, range(own + 1, own + 1 + n_replicates), folder)


def plan_subset_runs(lake: Lake, version: str, percents: Sequence[int], folder: Path) -> list[VersionPlan]:
    """Return plans of `version` on shares of its train split's sessions, in order; existing plans are kept.

    Recipe files are written to `folder`. The percentages are distinct and from 1 to 99.

    Raises:
        TrainingError: `version` is a replicate or has no checkpoint, or the percentages are invalid.
    """
    plan = _require_trained_plan(lake, version)
    if not percents or len(set(percents)) < len(percents) or not all(1 <= each <= 99 for each in percents):
        raise TrainingError(
            f"invalid percentages {list(percents)} for subset runs of {version}; give one or more distinct ones from 1 to 99"
        )
    recipe = load_recipe(write_recipe_file(lake, plan, folder))
    shares = {subset_run_name(version, each): round(recipe.train_share * each / 100, 4) for each in percents}
    for name, share in shares.items():
        if lake.read_pointer(catalogue.PLAN.name(name)) is None:
            _pin_variant(lake, plan, recipe, name, "train_share", share)
    return [read_plan(lake, name) for name in shares]


def replace_recipe_value(text: str, recipe: Recipe, key: str, value: float) -> str:
    """Return the YAML `text` of `recipe` with another value in the line of the key, or with a new line.

    Comments are kept. If that does not give the wanted recipe (a flow mapping, for example), the file is generated.
    """
    wanted = recipe.model_copy(update={key: value})
    line = f"{key}: {value}"
    changed, lines = re.subn(rf"^{key}:[ \t]*[^\s#]+", line, text, flags=re.MULTILINE)
    if not lines:
        changed = f"{text.rstrip()}\n{line}\n"
    if _parses_as(changed, wanted):
        return changed
    plain = recipe.model_dump(mode="json", exclude_unset=True) | {key: value}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _pin_variant(lake: Lake, plan: VersionPlan, recipe: Recipe, name: str, key: str, value: float) -> VersionPlan:
    """Pin `plan` under another name with one changed recipe key."""
    text = replace_recipe_value(lake.get_bytes(plan.recipe).decode("utf-8"), recipe, key, value)
    variant = VersionPlan(name, plan.snapshot, lake.put_bytes(text.encode("utf-8")), plan.corpus_hours)
    lake.move_pointer(catalogue.PLAN.name(name), asdict(variant), None)
    return variant


def _parses_as(text: str, wanted: Recipe) -> bool:
    try:
        return Recipe.model_validate(load_yaml(text)).model_dump() == wanted.model_dump()
    except (yaml.YAMLError, ValidationError):
        return False


def _require_trained_plan(lake: Lake, version: str) -> VersionPlan:
    if (parent := parent_version(version)) is not None:
        raise TrainingError(f"{version} is a replicate or subset run of {parent}; name {parent} instead")
    plan = read_plan(lake, version)
    if read_training_record(lake, version) is None:
        raise TrainingError(
            f"model version {version} has no finished training; materialise `fine_tuned_checkpoint` for it, then try again"
        )
    return plan


def _check_seeds(seeds: Sequence[int], recipe: Recipe, version: str) -> None:
    if recipe.seed in seeds:
        raise TrainingError(
            f"seed {recipe.seed} is the seed of {version} itself and gives the same model; give other seeds"
        )
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise TrainingError(
            f"invalid seeds {list(seeds)} for replicates of {version}; give one or more distinct, non-negative seeds"
        )


def _read_planned_replicates(lake: Lake, version: str, folder: Path) -> dict[int, VersionPlan]:
    """Return the existing plans of replicates, by seed."""
    names = catalogue.PLAN.keys(lake)
    plans = [read_plan(lake, name) for name in names if parent_version(name) == version and not is_subset_run(name)]
    return {load_recipe(write_recipe_file(lake, plan, folder)).seed: plan for plan in plans}
