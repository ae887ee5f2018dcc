"""One training planned again with other seeds: same snapshot, same recipe but for one line."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import TrainingSettings
from habla_ml.training.plan import (
    VersionPlan,
    list_evaluated_replicates,
    list_evaluated_trainings,
    pin_plan,
    plan_version,
    write_recipe_file,
)
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.replicate_plans import (
    plan_next_replicates,
    plan_replicates,
    plan_subset_runs,
    replace_recipe_value,
)
from habla_ml_tests.testing.trained_versions import RECIPE_TEXT, store_trained_plan

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipes"


def load_plan_recipe(lake: Lake, plan: VersionPlan, folder: Path) -> Recipe:
    return load_recipe(write_recipe_file(lake, plan, folder))


@pytest.mark.parametrize("name", ["3", "V3", "v03", "v3-final"])
def test_nothing_is_planned_under_a_name_that_no_report_and_no_release_reads(lake: Lake, name: str) -> None:
    with pytest.raises(TrainingError, match="is no model version; name it v and a number"):
        pin_plan(lake, VersionPlan(name, "a" * 64, "b" * 64, 1.0))
    assert not list(catalogue.PLAN.keys(lake))


def test_replicates_have_the_snapshot_and_recipe_of_their_version_with_another_seed(lake: Lake, tmp_path: Path) -> None:
    own = store_trained_plan(lake, "v2")
    plans = plan_replicates(lake, "v2", [11, 12], tmp_path)
    assert [plan.version for plan in plans] == ["v2-s2", "v2-s3"]
    assert {(plan.snapshot, plan.corpus_hours) for plan in plans} == {(own.snapshot, own.corpus_hours)}
    recipes = [load_plan_recipe(lake, plan, tmp_path) for plan in plans]
    assert [recipe.seed for recipe in recipes] == [11, 12]
    unchanged = load_plan_recipe(lake, own, tmp_path).model_dump(exclude={"seed"})
    assert all(recipe.model_dump(exclude={"seed"}) == unchanged for recipe in recipes)
    assert lake.get_bytes(plans[0].recipe).decode() == RECIPE_TEXT.replace("seed: 7", "seed: 11")


@pytest.mark.parametrize("left", [b"", RECIPE_TEXT.encode()[:-20]])
def test_a_recipe_file_that_a_full_disk_cut_is_written_again(lake: Lake, tmp_path: Path, left: bytes) -> None:
    plan = store_trained_plan(lake, "v2")
    path = write_recipe_file(lake, plan, tmp_path / "work")
    path.write_bytes(left)
    assert write_recipe_file(lake, plan, tmp_path / "work").read_text("utf-8") == RECIPE_TEXT
    assert list(path.parent.iterdir()) == [path]


def test_existing_plans_are_kept_and_a_new_seed_gets_the_next_name(lake: Lake, tmp_path: Path) -> None:
    store_trained_plan(lake, "v2")
    first = plan_replicates(lake, "v2", [11, 12], tmp_path)
    assert plan_replicates(lake, "v2", [12, 11], tmp_path) == first[::-1]
    assert [plan.version for plan in plan_replicates(lake, "v2", [13, 11], tmp_path)] == ["v2-s4", "v2-s2"]
    store_trained_plan(lake, "v22")
    assert [plan.version for plan in plan_replicates(lake, "v22", [11], tmp_path)] == ["v22-s2"]


def test_the_next_replicates_have_the_seeds_after_the_recipes_own(lake: Lake, tmp_path: Path) -> None:
    store_trained_plan(lake, "v2")
    plans = plan_next_replicates(lake, "v2", 2, tmp_path)
    assert [load_plan_recipe(lake, plan, tmp_path).seed for plan in plans] == [8, 9]
    assert plan_next_replicates(lake, "v2", 3, tmp_path)[:2] == plans


def test_subset_runs_have_the_snapshot_and_recipe_of_their_version_with_another_share(
    lake: Lake, tmp_path: Path
) -> None:
    own = store_trained_plan(lake, "v2")
    plans = plan_subset_runs(lake, "v2", [25, 50], tmp_path)
    assert [plan.version for plan in plans] == ["v2-p25", "v2-p50"]
    assert {(plan.snapshot, plan.corpus_hours) for plan in plans} == {(own.snapshot, own.corpus_hours)}
    recipes = [load_plan_recipe(lake, plan, tmp_path) for plan in plans]
    assert [recipe.train_share for recipe in recipes] == [0.25, 0.5]
    whole = load_plan_recipe(lake, own, tmp_path).model_copy(update={"train_share": 0.5})
    assert recipes[1] == whole
    assert plan_subset_runs(lake, "v2", [50], tmp_path) == plans[1:]
    assert [plan.version for plan in plan_next_replicates(lake, "v2", 1, tmp_path)] == ["v2-s2"]


@pytest.mark.parametrize("percents", [[0], [100], [25, 25], []])
def test_invalid_percentages_are_refused(lake: Lake, tmp_path: Path, percents: list[int]) -> None:
    store_trained_plan(lake, "v2")
    with pytest.raises(TrainingError, match=r"invalid percentages .* for subset runs of v2"):
        plan_subset_runs(lake, "v2", percents, tmp_path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_another_seed_keeps_the_comments_of_every_shipped_recipe(path: Path) -> None:
    recipe, text = load_recipe(path), path.read_text("utf-8")
    changed = replace_recipe_value(text, recipe, "seed", 5)
    assert Recipe.model_validate(yaml.safe_load(changed)) == recipe.model_copy(update={"seed": 5})
    assert set(text.splitlines()) - set(changed.splitlines()) <= {f"seed: {recipe.seed}"}


def test_a_recipe_as_a_flow_mapping_is_generated() -> None:
    text = "{name: some, base_model: package:demo/base_model, learning_rate: 0.001, max_steps: 2, seed: 7}\n"
    recipe = Recipe.model_validate(yaml.safe_load(text))
    changed = yaml.safe_load(replace_recipe_value(text, recipe, "seed", 5))
    assert Recipe.model_validate(changed) == recipe.model_copy(update={"seed": 5})
    assert changed.keys() == yaml.safe_load(text).keys()


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([8, 7], "seed 7 is the seed of v2 itself"),
        ([8, 8], r"invalid seeds \[8, 8\]"),
        ([-1], r"invalid seeds \[-1\]"),
        ([], r"invalid seeds \[\]"),
    ],
)
def test_invalid_seeds_are_refused(lake: Lake, tmp_path: Path, seeds: list[int], message: str) -> None:
    store_trained_plan(lake, "v2")
    with pytest.raises(TrainingError, match=message):
        plan_replicates(lake, "v2", seeds, tmp_path)
    assert [name for name in lake.list_pointers("models/") if "-s" in name] == []


def test_only_a_trained_version_that_is_no_replicate_can_be_repeated(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="v2 has no plan"):
        plan_replicates(lake, "v2", [11], tmp_path)
    plan = VersionPlan("v2", "5" * 64, lake.put_bytes(RECIPE_TEXT.encode()), 3.5)
    lake.move_pointer(catalogue.PLAN.name("v2"), asdict(plan), None)
    with pytest.raises(TrainingError, match="v2 has no finished training"):
        plan_replicates(lake, "v2", [11], tmp_path)
    with pytest.raises(TrainingError, match="v2-s2 is a replicate or subset run of v2; name v2 instead"):
        plan_replicates(lake, "v2-s2", [11], tmp_path)


def test_a_replicate_without_a_plan_does_not_get_the_settings_recipe(
    lake: Lake, snapshot: Snapshot, tmp_path: Path
) -> None:
    settings = TrainingSettings(recipe=RECIPES / "demo-full.yaml")
    with pytest.raises(TrainingError, match="plan it with the command `repeat`"):
        plan_version(lake, "v2-s2", snapshot, settings)
    store_trained_plan(lake, "v2")
    (planned,) = plan_replicates(lake, "v2", [11], tmp_path)
    assert plan_version(lake, "v2-s2", snapshot, settings) == planned


def test_growth_does_not_count_from_a_replicate(lake: Lake, tmp_path: Path) -> None:
    for version in ("v2", "v10"):
        store_trained_plan(lake, version)
        plan_replicates(lake, version, [11], tmp_path)
    for version in ("v2", "v10", "v2-s2", "v10-s2"):
        lake.move_pointer(f"models/{version}/report", {}, None)
    assert [plan.version for plan in list_evaluated_trainings(lake)] == ["v2", "v10"]
    assert [plan.version for plan in list_evaluated_replicates(lake)] == ["v10-s2", "v2-s2"]
