from pathlib import Path
from typing import Any

import pytest
import yaml

from habla_ml.errors import SettingsError, TrainingError
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.model_folder import prepare_trainable_model
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.small_memory import needs_bitsandbytes

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipes"
GOOD: dict[str, Any] = {
    "name": "some",
    "base_model": "openai/whisper-small",
    "revision": "973afd24965f72e36ca33b3055d56a652f456b4d",
    "learning_rate": 1e-5,
    "max_steps": 10,
}


def write_recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (GOOD | changes).items() if value is not None}))
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_has_the_name_of_its_file(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert (recipe.revision is not None) == recipe.base_model_is_on_hub


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learning_rat": 1}, r"key learning_rat: is unknown; keys here are .*learning_rate"),
        ({"windows": {"share": 6}}, r"key windows\.share: is unknown; keys here are full_share, margin_s, step_s"),
        ({"learning_rate": "fast"}, r"key learning_rate: is 'fast': .*number"),
        ({"learning_rate": None}, r"key learning_rate: is missing"),
        ({"learning_rate": float("inf")}, r"key learning_rate: is inf: .*finite"),
        ({"weight_decay": float("nan")}, r"key weight_decay: is nan"),
        ({"revision": None}, r"revision must pin a commit of 40 hex digits"),
        ({"revision": "main"}, r"not 'main'; a branch name is not fixed"),
        ({"base_model": "package:demo/base_model"}, r"revision is for hub ids"),
        ({"base_model": "whisper-small"}, r"nor a hub id like openai/whisper-small"),
        ({"method": "lora"}, r"method lora needs the section lora"),
        ({"lora": {"r": 4}}, r"method full forbids the section lora"),
        ({"quantisation": "4bit"}, r"quantisation 4bit freezes the base, so it needs method lora"),
        ({"max_steps": None}, r"epochs or max_steps must be given"),
        ({"min_steps": 5}, r"min_steps 5 needs epochs"),
        ({"epochs": 2, "min_steps": 11}, r"min_steps 11 is above max_steps 10"),
        ({"warmup_steps": 3, "warmup_ratio": 0.1}, r"at most one of warmup_steps and warmup_ratio"),
        ({"windows": {"step_s": 0.65}}, r"key windows: step_s 0\.65 is no multiple of 0\.02 s"),
        ({"windows": {"full_share": 1.1}}, r"key windows\.full_share: is 1\.1: .*less than or equal to 1"),
        (
            {"augmentation": {"speed": {"factor": [1.1, 0.9]}}},
            r"speed\.factor: .*\[1\.1, 0\.9\] is no range within 0\.5 to 2; write the lower bound first",
        ),
        ({"augmentation": {"noise": {"snr_db": [-40, 0]}}}, r"\[-40, 0\] is no range within -10 to 60"),
        ({"augmentation": {"pitch": {"probability": 0}}}, r"augmentation\.pitch\.probability: is 0: .*greater than 0"),
        ({"augmentation": {"echo": {}}}, r"augmentation\.echo: is unknown; keys here are gain, noise, pitch, rever"),
        (
            {"spec_augment": {"mask_time": 5}},
            r"spec_augment\.mask_time: is unknown; keys here are mask_feature_length, mask_feature_prob, mask_time_l",
        ),
        (
            {"first_stage": {"seed": 5}},
            r"key first_stage\.seed: is unknown; keys here are augmentation, average_ch",
        ),
        (
            {"first_stage": {"max_steps": 5, "spec_augment": {"r": 4}}},
            r"first_stage\.spec_augment\.r: is unknown; keys here are mask_f",
        ),
        ({"first_stage": {"epochs": 0}}, r"key first_stage\.epochs: is 0: .*greater than 0"),
        ({"first_stage": {"learning_rate": 1e-4}}, r": first_stage: epochs or max_steps must be given"),
        ({"first_stage": {"max_steps": 5, "min_steps": 2}}, r": first_stage: min_steps 2 needs epochs"),
        (
            {"first_stage": {"max_steps": 5, "warmup_steps": 3, "warmup_ratio": 0.1}},
            r": first_stage: at most one of warmup_steps and warmup_ratio",
        ),
        (
            {"first_stage": {"max_steps": 5, "method": "lora"}},
            r": first_stage: method lora needs the section lora",
        ),
        (
            {"first_stage": {"max_steps": 5, "lora": {"r": 4}}},
            r": first_stage: method full forbids the section lora",
        ),
    ],
)
def test_an_invalid_recipe_is_refused_with_file_key_and_expectation(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = write_recipe(tmp_path, **changes)
    with pytest.raises(SettingsError, match=expected) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_recipe(write_recipe(tmp_path, seed="x", batch_s=0))
    assert "key seed" in str(caught.value)
    assert "key batch_s" in str(caught.value)


def test_the_error_about_a_missing_recipe_lists_the_existing_ones(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    with pytest.raises(SettingsError, match=r"other\.yaml does not exist.*some\.yaml"):
        load_recipe(tmp_path / "other.yaml")


def test_the_digest_depends_on_the_training_keys_and_not_on_the_name(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert load_recipe(write_recipe(tmp_path, name="other")).digest == recipe.digest
    assert load_recipe(write_recipe(tmp_path, learning_rate=2e-5)).digest != recipe.digest
    assert load_recipe(write_recipe(tmp_path, seed=1)).digest != recipe.digest


def test_warmup_is_steps_or_a_share_of_them(tmp_path: Path) -> None:
    assert load_recipe(write_recipe(tmp_path)).count_warmup_steps(200) == 0
    assert load_recipe(write_recipe(tmp_path, warmup_ratio=0.1)).count_warmup_steps(200) == 20
    assert load_recipe(write_recipe(tmp_path, warmup_steps=30)).count_warmup_steps(20) == 20


def test_a_first_stage_inherits_all_but_its_own_keys_and_the_length(tmp_path: Path) -> None:
    around = {
        "epochs": 3,
        "min_steps": 4,
        "warmup_ratio": 0.1,
        "max_wall_s": 60.0,
        "batch_s": 12,
        "base_share": 0.5,
        "method": "lora",
        "lora": {"r": 4},
        "windows": {"full_share": 0.2},
    }
    recipe = load_recipe(
        write_recipe(tmp_path, **around, first_stage={"epochs": 2, "warmup_steps": 3, "method": "full"})
    )
    stage = recipe.to_first_stage_recipe()
    assert (stage.max_steps, stage.min_steps, stage.epochs, stage.max_wall_s) == (None, None, 2, None)
    assert (stage.warmup_steps, stage.warmup_ratio) == (3, None)
    assert (stage.method, stage.lora) == ("full", None)
    assert (stage.batch_s, stage.windows, stage.seed) == (12, recipe.windows, recipe.seed)
    assert (stage.base_share, stage.first_stage) == (0.0, None)
    plain = load_recipe(write_recipe(tmp_path, **around, first_stage={"max_steps": 7})).to_first_stage_recipe()
    assert (plain.warmup_ratio, plain.method, plain.lora) == (0.1, "lora", recipe.lora)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_lora_trains_the_encoder_only_with_encoder_true(recipe: Recipe) -> None:
    def learning(encoder: bool) -> set[str]:
        lora = recipe.model_validate(
            recipe.model_dump() | {"method": "lora", "lora": {"r": 2, "alpha": 4, "encoder": encoder}}
        )
        model = prepare_trainable_model(lora, resolve_base_model(lora).folder)
        return {name for name, weights in model.named_parameters() if weights.requires_grad}

    decoder_only = learning(encoder=False)
    # one layer: q and v of self- and cross-attention, each with an A and a B
    assert len(decoder_only) == 8
    assert all(".decoder." in name for name in decoder_only)
    assert sum(".encoder." in name for name in learning(encoder=True)) == 4


def test_the_error_about_unknown_lora_modules_lists_the_known_ones(recipe: Recipe) -> None:
    lora = recipe.model_validate(recipe.model_dump() | {"method": "lora", "lora": {"target_modules": ["query"]}})
    with pytest.raises(TrainingError, match=r"'query'.*q_proj"):
        prepare_trainable_model(lora, resolve_base_model(lora).folder)


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adamw_8bit"}, {"method": "lora", "lora": {}, "quantisation": "4bit"}]
)
def test_what_needs_a_card_is_refused_without_one_and_without_its_package(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(write_recipe(tmp_path, **changes))
    assert (
        recipe.digest
        != load_recipe(write_recipe(tmp_path, **changes | {"optimizer": None, "quantisation": None})).digest
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"recipe some has (optimizer: adamw_8bit|quantisation: 4bit), .* CUDA GPU"):
        needs_bitsandbytes(recipe)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("habla_ml.training.small_memory.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install 'habla-ml\[bitsandbytes\]'"):
        needs_bitsandbytes(recipe)


def test_adapters_are_on_both_sides_unless_the_recipe_says_no(tmp_path: Path) -> None:
    both = load_recipe(write_recipe(tmp_path, method="lora", lora={}))
    decoder = load_recipe(write_recipe(tmp_path, method="lora", lora={"encoder": False}))
    assert (both.lora is not None and both.lora.encoder, both.digest == decoder.digest) == (True, False)
