"""Each fault of a checkpoint is repaired and reported, or refused with the next step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from habla_ml.errors import ExportError
from habla_ml.export.prepare import PreparedCheckpoint, prepare_checkpoint
from habla_ml.export.programs.parity import compute_largest_difference, compute_psnr_db
from habla_ml.lake import to_canonical_json
from habla_ml_tests.testing.export_checkpoint import ignore_progress


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def prepare(checkpoint: Path, out: Path) -> PreparedCheckpoint:
    return prepare_checkpoint(checkpoint, out, ignore_progress)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def prepared_json(out: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((out / name).read_text(encoding="utf-8")))


def test_equal_results_have_a_psnr_that_json_has() -> None:
    values = torch.linspace(-1.0, 1.0, 5)
    assert to_canonical_json(compute_psnr_db(values, values)) == b"200.0"
    assert compute_psnr_db(values + 0.1, values) == pytest.approx(20.0)


def test_a_program_that_returns_no_number_for_silence_has_no_difference_within_a_bound() -> None:
    loud, silent = torch.ones(3), torch.zeros(3)
    assert compute_largest_difference([loud, silent], [loud, silent + 0.5]) == 0.5
    for actual in ([loud, silent / 0.0], [silent / 0.0, loud]):
        assert not compute_largest_difference(actual, [loud, loud]) <= 1e9


def test_a_transformers_5_checkpoint_becomes_exactly_the_files_that_converters_read(
    checkpoint: Path, tmp_path: Path
) -> None:
    assert not (checkpoint / "preprocessor_config.json").exists()
    prepared = prepare(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in prepared.folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert prepared.repairs == ("preprocessor_config.json was missing: written from processor_config.json",)
    assert prepared_json(prepared.folder, "preprocessor_config.json")["feature_size"] == 80


def test_weights_are_copied_bit_for_bit(checkpoint: Path, tmp_path: Path) -> None:
    prepared = prepare(checkpoint, tmp_path / "out")
    before, after = load_file(checkpoint / "model.safetensors"), load_file(prepared.folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_half_precision_weights_become_float32_of_the_same_values(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "model.safetensors"
    edit_weights(path, lambda tensors: tensors.update({k: v.to(torch.bfloat16) for k, v in tensors.items()}))
    edit_json(checkpoint / "config.json", lambda config: config.update(dtype="bfloat16"))
    prepared = prepare(checkpoint, tmp_path / "out")
    half, full = load_file(path), load_file(prepared.folder / "model.safetensors")
    assert {tensor.dtype for tensor in full.values()} == {torch.float32}
    assert all(torch.equal(half[name].float(), full[name]) for name in half)
    assert prepared_json(prepared.folder, "config.json")["dtype"] == "float32"


def test_sharded_weights_become_one_file(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, checkpoint / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert load_file(prepared.folder / "model.safetensors").keys() == tensors.keys()


def test_preparing_a_prepared_checkpoint_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    first = prepare(checkpoint, tmp_path / "first")
    second = prepare(first.folder, tmp_path / "second")
    assert second.repairs == ()
    for path in first.folder.iterdir():
        assert path.read_bytes() == (second.folder / path.name).read_bytes()


def test_an_unmerged_adapter_is_refused_even_with_base_weights_in_the_folder(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"adapter_config\.json.*Merge the adapter"):
        prepare(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fields_marked_as_made_from_the_model_config_survive_loading(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    edit_json(checkpoint / "generation_config.json", lambda config: config.update(_from_model_config=True))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert any("_from_model_config" in line for line in prepared.repairs)
    loaded = GenerationConfig.from_pretrained(prepared.folder)
    assert loaded.alignment_heads == [[1, 0], [1, 1]]
    assert len(loaded.lang_to_id) == 99


def test_missing_lang_to_id_is_taken_from_the_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    before = json.loads((checkpoint / "generation_config.json").read_text())["lang_to_id"]
    edit_json(checkpoint / "generation_config.json", lambda config: config.pop("lang_to_id"))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert any("lang_to_id was missing: 99 languages" in line for line in prepared.repairs)
    assert prepared_json(prepared.folder, "generation_config.json")["lang_to_id"] == before


def test_missing_lang_to_id_is_refused_when_the_tokenizer_has_no_language(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "generation_config.json", lambda config: config.pop("lang_to_id"))

    def forget_languages(content: dict[str, Any]) -> None:
        for added in content["added_tokens"]:
            if added["content"] not in ("<|endoftext|>", "<|startoftranscript|>") and added["id"] < 358:
                added["content"] = f"<|unused{added['id']}|>"

    edit_json(checkpoint / "tokenizer.json", forget_languages)
    with pytest.raises(ExportError, match=r"no lang_to_id .* no language tokens"):
        prepare(checkpoint, tmp_path / "out")


def test_language_ids_of_another_tokenizer_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "generation_config.json", lambda config: config["lang_to_id"].update({"<|es|>": 50262}))
    with pytest.raises(ExportError, match=r"<\|es\|> the id 50262"):
        prepare(checkpoint, tmp_path / "out")


def test_missing_alignment_heads_become_the_last_half_and_are_reported(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "generation_config.json", lambda config: config.pop("alignment_heads"))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert prepared_json(prepared.folder, "generation_config.json")["alignment_heads"] == [[1, 0], [1, 1]]
    assert any("word times are poor" in line for line in prepared.repairs)


@pytest.mark.parametrize("heads", [[[2, 0]], [[0, 2]], [[-1, 0]], [[0]], [3], ["01"], "all", {"0": 1}])
def test_alignment_heads_of_another_size_are_refused(checkpoint: Path, tmp_path: Path, heads: object) -> None:
    edit_json(checkpoint / "generation_config.json", lambda config: config.update(alignment_heads=heads))
    with pytest.raises(ExportError, match=r"alignment_heads .* below \[2, 2\]"):
        prepare(checkpoint, tmp_path / "out")


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "config.json", "model.safetensors"])
def test_a_missing_file_of_the_base_model_is_named(checkpoint: Path, tmp_path: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(ExportError, match=name.replace(".", r"\.")):
        prepare(checkpoint, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "generation_config.json", "config.json", "model.safetensors", "tokenizer_config.json"],
)
@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[]", b"\xff\xfe\x00", b"null"])
def test_a_broken_file_is_named(checkpoint: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (checkpoint / name).write_bytes(content)
    with pytest.raises(ExportError, match=name.replace(".", r"\.")):
        prepare(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_without_the_empty_token_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "tokenizer.json", lambda t: t["model"]["vocab"].update(xx=t["model"]["vocab"].pop("")))
    with pytest.raises(ExportError, match="no empty-string token"):
        prepare(checkpoint, tmp_path / "out")


def test_an_extended_vocabulary_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "config.json", lambda config: config.update(vocab_size=config["vocab_size"] + 7))
    with pytest.raises(ExportError, match="Never extend"):
        prepare(checkpoint, tmp_path / "out")


def test_a_vocabulary_with_a_gap_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "tokenizer.json", lambda t: t["added_tokens"][-1].update(id=9999))
    with pytest.raises(ExportError, match="without a gap"):
        prepare(checkpoint, tmp_path / "out")


@pytest.mark.parametrize("found", [None, "TokenizersBackend"])
def test_the_tokenizer_class_is_one_that_the_phone_loads(checkpoint: Path, tmp_path: Path, found: str | None) -> None:
    edit_json(checkpoint / "tokenizer_config.json", lambda config: config.update(tokenizer_class=found))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert prepared_json(prepared.folder, "tokenizer_config.json")["tokenizer_class"] == "WhisperTokenizer"
    assert any("tokenizer_class was" in line for line in prepared.repairs)


def test_a_feature_extractor_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "preprocessor_config.json").write_text('{"feature_size": 128}')
    with pytest.raises(ExportError, match="has 128 mel bands, the encoder expects 80"):
        prepare(checkpoint, tmp_path / "out")


def test_without_a_feature_extractor_whispers_defaults_are_written(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "processor_config.json").unlink()
    prepared = prepare(checkpoint, tmp_path / "out")
    extractor = prepared_json(prepared.folder, "preprocessor_config.json")
    assert (extractor["feature_size"], extractor["n_fft"], extractor["hop_length"]) == (80, 400, 160)
    assert any("no feature extractor was saved" in line for line in prepared.repairs)


def test_a_missing_weight_is_refused_instead_of_filled_with_noise(checkpoint: Path, tmp_path: Path) -> None:
    edit_weights(checkpoint / "model.safetensors", lambda t: t.pop("model.encoder.conv1.weight"))
    with pytest.raises(ExportError, match=r"model\.encoder\.conv1\.weight is missing"):
        prepare(checkpoint, tmp_path / "out")


def test_unmerged_adapter_weights_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    name = "model.decoder.layers.0.fc1.lora_A.weight"
    edit_weights(checkpoint / "model.safetensors", lambda t: t.update({name: torch.zeros(2, 2)}))
    with pytest.raises(ExportError, match=r"lora_A\.weight is unknown"):
        prepare(checkpoint, tmp_path / "out")


def test_weights_of_another_shape_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    name = "model.decoder.layer_norm.bias"
    edit_weights(checkpoint / "model.safetensors", lambda t: t.update({name: torch.zeros(3)}))
    with pytest.raises(ExportError, match=r"shape \(3,\) instead of \(64,\)"):
        prepare(checkpoint, tmp_path / "out")


def test_weights_that_are_not_finite_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_weights(checkpoint / "model.safetensors", lambda t: t["model.encoder.conv1.bias"].fill_(torch.nan))
    with pytest.raises(ExportError, match="NaN or infinity"):
        prepare(checkpoint, tmp_path / "out")


def test_another_architecture_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "config.json", lambda config: config.update(model_type="wav2vec2"))
    with pytest.raises(ExportError, match="'wav2vec2'"):
        prepare(checkpoint, tmp_path / "out")


def test_paths_of_the_training_machine_are_removed(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "config.json", lambda config: config.update(_name_or_path="/home/maestra/base"))
    edit_json(checkpoint / "tokenizer_config.json", lambda config: config.update(name_or_path="/home/maestra/base"))
    prepared = prepare(checkpoint, tmp_path / "out")
    assert not [file for file in prepared.folder.glob("*.json") if "maestra" in file.read_text(encoding="utf-8")]


def test_the_output_is_neither_overwritten_nor_inside_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        prepare(checkpoint, tmp_path / "out")
    with pytest.raises(ExportError, match="inside the checkpoint"):
        prepare(checkpoint, checkpoint / "out")
    with pytest.raises(ExportError, match="not a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "other")
