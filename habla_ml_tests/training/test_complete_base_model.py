"""Base models as people have them are completed, or refused with the next step."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperTokenizer

from habla_ml.errors import TrainingError
from habla_ml.export.prepare import prepare_checkpoint
from habla_ml.export.tokenizer_vocabulary import read_tokenizer_vocabulary
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.complete_base_model import complete_base_model
from habla_ml.training.model_folder import load_feature_extractor, load_tokenizer, prepare_trainable_model
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.command_line import run_habla_ml

SENTENCE = "Hola, ¿qué tal en Cádiz?"
ONE_SHARD_BYTES = 50_000


@pytest.fixture
def source(tiny_base: Path, tmp_path: Path) -> Path:
    """A complete base model, to take something away from."""
    return shutil.copytree(tiny_base, tmp_path / "source")


def _make_sharded(folder: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    config = (folder / "config.json").read_bytes(), (folder / "generation_config.json").read_bytes()
    model.save_pretrained(folder, max_shard_size=ONE_SHARD_BYTES)
    (folder / "config.json").write_bytes(config[0])
    (folder / "generation_config.json").write_bytes(config[1])
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def _make_pickled(folder: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _make_pickled_shards(folder: Path) -> None:
    state = WhisperForConditionalGeneration.from_pretrained(folder).state_dict()
    names = sorted(state)
    weight_map = {name: f"pytorch_model-0000{1 + at % 2}-of-00002.bin" for at, name in enumerate(names)}
    for file in set(weight_map.values()):
        torch.save({name: state[name] for name in names if weight_map[name] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def _make_old_tokenizer(folder: Path) -> None:
    """Leave the files of a fine-tune of early 2023: no tokenizer.json, and no timestamps among the added tokens."""
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps(content["model"]["vocab"]), "utf-8")
    merges = "\n".join(" ".join(each) for each in content["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    added = {each["content"]: each["id"] for each in content["added_tokens"] if not each["content"][2:3].isdigit()}
    (folder / "added_tokens.json").write_text(json.dumps(added), "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def _make_without_languages(folder: Path) -> None:
    content = json.loads((folder / "generation_config.json").read_text("utf-8"))
    for key in ("lang_to_id", "task_to_id", "no_timestamps_token_id", "is_multilingual"):
        del content[key]
    content["forced_decoder_ids"] = [[1, 649], [2, 746]]
    (folder / "generation_config.json").write_text(json.dumps(content), "utf-8")


def _make_without_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def _complete(source: Path, recipe: Recipe) -> tuple[Path, tuple[str, ...]]:
    """Check that training names the command for `source`, complete it, and check that training accepts the result."""
    with pytest.raises(TrainingError, match=r"run `habla-ml complete-base-model .*source source-complete`"):
        resolve_base_model(recipe.model_copy(update={"base_model": str(source)}))
    out = source.with_name("source-complete")
    done = complete_base_model(source, out)
    resolve_base_model(recipe.model_copy(update={"base_model": str(out)}))
    return out, done


@pytest.mark.parametrize("change", [_make_sharded, _make_pickled, _make_pickled_shards])
def test_weights_in_any_form_become_one_file_with_the_same_values(change, source, tiny_base, recipe) -> None:
    change(source)
    out, done = _complete(source, recipe)
    assert done == ("the weights are now in one file, model.safetensors",)
    before = WhisperForConditionalGeneration.from_pretrained(tiny_base).state_dict()
    after = WhisperForConditionalGeneration.from_pretrained(out).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].float(), after[name].float()) for name in before)
    assert (out / "generation_config.json").read_bytes() == (tiny_base / "generation_config.json").read_bytes()
    assert (out / "config.json").read_bytes() == (tiny_base / "config.json").read_bytes()


def test_an_old_tokenizer_becomes_the_same_tokenizer(source, tiny_base, recipe) -> None:
    _make_old_tokenizer(source)
    out, done = _complete(source, recipe)
    assert done == ("tokenizer.json was written from vocab.json, merges.txt and the added tokens",)
    old, new = (WhisperTokenizer.from_pretrained(each) for each in (tiny_base, out))
    assert new.get_vocab() == old.get_vocab()
    ids = old(SENTENCE).input_ids
    assert new(SENTENCE).input_ids == ids
    assert new.decode(ids, skip_special_tokens=True) == SENTENCE


def _cut_timestamps(folder: Path) -> list[dict[str, object]]:
    """Leave a `tokenizer.json` that ends with `<|notimestamps|>`, as OpenAI's did until 2023, and return the others."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    kept = [each for each in content["added_tokens"] if not each["content"][2:3].isdigit()]
    removed = [each for each in content["added_tokens"] if each["content"][2:3].isdigit()]
    path.write_text(json.dumps({**content, "added_tokens": kept}), "utf-8")
    return removed


def test_timestamps_that_an_older_tokenizer_lacks_are_named(source, tiny_base, tmp_path) -> None:
    removed = _cut_timestamps(source)
    assert [removed[0]["content"], removed[-1]["content"], len(removed)] == ["<|0.00|>", "<|30.00|>", 1501]
    out = tmp_path / "out"
    first = removed[0]["id"]
    assert complete_base_model(source, out) == (
        f"tokenizer.json got the timestamps <|0.00|> to <|30.00|>, ids {first} to {first + 1500}",
    )
    added = json.loads((out / "tokenizer.json").read_text("utf-8"))["added_tokens"][-1501:]
    assert [(each["id"], each["content"]) for each in added] == [(each["id"], each["content"]) for each in removed]
    assert not any(each["special"] for each in added)
    old, new = (WhisperTokenizer.from_pretrained(each) for each in (tiny_base, out))
    assert new.get_vocab() == old.get_vocab()
    ids = [first, *old(SENTENCE, add_special_tokens=False).input_ids, first + 100]
    assert new.decode(ids, decode_with_timestamps=True) == f"<|0.00|>{SENTENCE}<|2.00|>"
    assert new.decode(ids, skip_special_tokens=True) == SENTENCE
    read_tokenizer_vocabulary(out / "tokenizer.json").check_timestamps()


def test_a_vocabulary_without_room_for_timestamps_stays(source, tmp_path) -> None:
    _cut_timestamps(source)
    config = json.loads((source / "config.json").read_text("utf-8"))
    (source / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] - 1}), "utf-8")
    assert complete_base_model(source, tmp_path / "out") == ()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("change", [_make_without_languages, _make_without_generation_config])
def test_generation_settings_come_from_the_tokenizer(change, source, tiny_base, recipe) -> None:
    change(source)
    out, done = _complete(source, recipe)
    assert len(done) == 1
    expected = json.loads((tiny_base / "generation_config.json").read_text("utf-8"))
    found = json.loads((out / "generation_config.json").read_text("utf-8"))
    for key in ("lang_to_id", "task_to_id", "no_timestamps_token_id", "is_multilingual", "decoder_start_token_id"):
        assert found[key] == expected[key]
    assert "forced_decoder_ids" not in found


def test_a_model_with_every_fault_trains_decodes_and_exports(source, recipe, tmp_path) -> None:
    for change in (_make_pickled, _make_old_tokenizer, _make_without_generation_config):
        change(source)
    (source / "preprocessor_config.json").unlink()
    done = run_habla_ml("complete-base-model", str(source), str(tmp_path / "complete"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"base_model: {tmp_path / 'complete'}"
    base = resolve_base_model(recipe.model_copy(update={"base_model": str(tmp_path / "complete")}))
    assert load_tokenizer(base)(SENTENCE).input_ids
    features = load_feature_extractor(base)(np.zeros(16_000), sampling_rate=16_000, return_tensors="pt")
    model = prepare_trainable_model(recipe, base.folder)
    assert model.generate(features.input_features, max_new_tokens=2).shape[0] == 1
    prepare_checkpoint(base.folder, tmp_path / "prepared", print)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"config.json does not exist"),
        ("config.json", '{"model_type": "bert"}', r"model_type 'bert'; only 'whisper'"),
        ("config.json", "{", r"is not JSON .*download it again"),
        ("tokenizer.json", '{"model": {}}', r"tokenizer.json is no tokenizer of Whisper .*download it again"),
        ("adapter_config.json", "{}", r"is an adapter without its base model; merge it"),
        ("tokenizer.json", None, r"has no tokenizer.json and no vocab.json and no merges.txt; copy"),
        ("model.safetensors", None, r"the weights of .* cannot be read .*download them again"),
    ],
)
def test_what_no_file_supplies_is_refused_and_nothing_is_left(name, content, message, source, tmp_path) -> None:
    if content is None:
        (source / name).unlink()
    else:
        (source / name).write_text(content, "utf-8")
    with pytest.raises(TrainingError, match=message):
        complete_base_model(source, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["source"]


def test_a_tokenizer_without_its_control_tokens_is_refused(source, tmp_path) -> None:
    _make_old_tokenizer(source)
    (source / "added_tokens.json").unlink()
    with pytest.raises(TrainingError, match=r"lacks .*<\|es\|>.*; copy added_tokens.json"):
        complete_base_model(source, tmp_path / "out")


def test_an_existing_folder_is_not_overwritten(source, tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"source exists already and is not overwritten"):
        complete_base_model(source, source)


def test_lost_weights_are_named(source, tmp_path) -> None:
    _make_pickled(source)
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    del state["model.encoder.conv1.weight"]
    torch.save(state, source / "pytorch_model.bin")
    with pytest.raises(TrainingError, match=r"lacks 1 weights, such as model.encoder.conv1.weight"):
        complete_base_model(source, tmp_path / "out")
