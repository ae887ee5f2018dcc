"""What a search space allows, and what its errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.errors import SettingsError
from habla_ml.training.recipe import load_recipe
from habla_ml.training.sweep.space import SearchSpace, get_value, load_space

ROOT = Path(__file__).resolve().parents[3]
RECIPE = load_recipe(ROOT / "configs" / "recipes" / "demo-full.yaml")


def build_space(**keys: object) -> SearchSpace:
    return SearchSpace.model_validate({"keys": {name.replace("__", "."): value for name, value in keys.items()}})


def test_the_shipped_search_spaces_fit_every_shipped_recipe() -> None:
    for file in sorted((ROOT / "configs" / "search_spaces").glob("*.yaml")):
        for recipe in sorted((ROOT / "configs" / "recipes").glob("*.yaml")):
            load_space(file).check(load_recipe(recipe), file.name)


def test_values_replace_keys_and_keys_of_sections() -> None:
    space = build_space(learning_rate={"low": 1e-5, "high": 1e-3, "log": True}, windows__full_share=[0, 0.06])
    changed = space.apply(RECIPE, {"learning_rate": 2e-4, "windows.full_share": 0.5})
    assert (changed.learning_rate, changed.windows.full_share) == (2e-4, 0.5)
    assert changed.windows.step_s == RECIPE.windows.step_s
    kept = changed.model_copy(update={"learning_rate": RECIPE.learning_rate, "windows": RECIPE.windows})
    assert kept == RECIPE


def test_ranges_of_whole_numbers_give_whole_numbers_and_others_do_not() -> None:
    space = build_space(gradient_accumulation={"low": 1, "high": 4}, weight_decay={"low": 0, "high": 1})
    named = {key: type(each).__name__ for key, each in space.to_distributions(RECIPE).items()}
    assert named == {"gradient_accumulation": "IntDistribution", "weight_decay": "FloatDistribution"}


def test_the_recipes_own_values_are_found_in_the_space_or_not() -> None:
    space = build_space(label_smoothing=[0.0, 0.1], gradient_accumulation={"low": 1, "high": 4})
    parameters = space.find_parameters(RECIPE)
    assert parameters is not None
    assert space.to_values(parameters) == {
        key: get_value(RECIPE, key) for key in ("label_smoothing", "gradient_accumulation")
    }
    assert build_space(label_smoothing=[0.1, 0.2]).find_parameters(RECIPE) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"learning_rat": [1e-4, 1e-3]},
            "keys.learning_rat has 0.0001, .*Extra inputs are not permitted",
        ),
        ({"learning_rate": {"low": 0.1, "high": 3}}, r"keys.learning_rate has 3.0, .*less than 1"),
        ({"lora__r": [4, 8]}, "forbids the section lora"),
        ({"seed": [1, 2]}, "keys.seed cannot be searched: the best of many seeds is chance"),
        ({"validation_clips": [8, 16]}, "trials are compared on the same clips"),
    ],
)
def test_a_key_or_value_that_the_recipe_does_not_allow_is_named(keys: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_space(**keys).check(RECIPE, "space.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: {learning_rate: {low: 2, high: 1}}", "low 2 is not below high 1"),
        ("keys: {learning_rate: {low: 0, high: 1, log: true}}", "low 0 must be above 0 with log: true"),
        ("keys: {learning_rate: [1.0e-4]}", "learning_rate"),
        ("trials: 3", "keys"),
        ("keys: {}\ntrails: 3", "trails"),
    ],
)
def test_a_faulty_file_is_an_error_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as raised:
        load_space(path)
    assert str(path) in str(raised.value)


def test_more_trials_continue_the_same_sweep_and_other_keys_begin_another() -> None:
    space = build_space(label_smoothing=[0.0, 0.1])
    assert space.model_copy(update={"trials": 50}).digest == space.digest
    assert space.model_copy(update={"seed": 1}).digest != space.digest
