"""The content of the GGML file; its transcripts are tested with the engine."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from habla_ml.errors import ExportError
from habla_ml.export.ggml import GGML
from habla_ml_tests.export.conftest import write_tiny_checkpoint
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint

GgmlContent = tuple[tuple[int, ...], list[bytes], dict[str, np.ndarray]]


def export_and_read(checkpoint: Path, folder: Path) -> GgmlContent:
    """Return numbers, tokens and tensors, as whisper.cpp's `whisper_model_load` reads them."""
    data, at = (export_checkpoint(GGML, checkpoint, folder).path / "ggml-model.bin").read_bytes(), 0

    def take_integers(count: int) -> tuple[int, ...]:
        nonlocal at
        at += 4 * count
        return struct.unpack_from(f"<{count}i", data, at - 4 * count)

    def take_bytes(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    head = take_integers(12)
    n_mels, n_bins = take_integers(2)
    take_bytes(4 * n_mels * n_bins)
    tokens = [take_bytes(*take_integers(1)) for _ in range(*take_integers(1))]
    found = {}
    while at < len(data):
        n_dims, name_length, kind = take_integers(3)
        shape = take_integers(n_dims)[::-1]
        name = take_bytes(name_length).decode()
        width = "<f2" if kind else "<f4"
        found[name] = np.frombuffer(take_bytes(int(np.prod(shape)) * int(width[2])), width).reshape(shape)
    return head, tokens, found


def test_numbers_tokens_and_tensors_are_where_whisper_cpp_reads_them(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint", text_tokens=50257)
    head, tokens, found = export_and_read(checkpoint, tmp_path / "ggml")
    assert head == (0x67676D6C, 51865, 1500, 64, 2, 2, 448, 64, 2, 2, 80, 1)
    assert len(tokens) == 50257
    assert (tokens[0], tokens[-1]) == (b"!", b"")
    assert b"\xc3" in tokens, "a byte of an accented letter is a token"
    weights = load_file(checkpoint / "model.safetensors")
    assert len(found) == len(weights)
    for ours, theirs in (
        ("decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"),
        ("decoder.blocks.1.cross_attn.key.weight", "model.decoder.layers.1.encoder_attn.k_proj.weight"),
        ("encoder.blocks.1.mlp.2.bias", "model.encoder.layers.1.fc2.bias"),
        ("encoder.ln_post.bias", "model.encoder.layer_norm.bias"),
        ("encoder.conv2.weight", "model.encoder.conv2.weight"),
    ):
        np.testing.assert_array_equal(found[ours], weights[theirs].astype(found[ours].dtype))
    assert found["encoder.conv1.bias"].shape == (64, 1)
    in_float32 = {name for name, tensor in found.items() if tensor.dtype == np.float32}
    assert {"encoder.positional_embedding", "decoder.ln.weight", "encoder.conv1.bias"} <= in_float32
    assert not any(name.endswith("attn.key.weight") for name in in_float32)


def test_a_smaller_vocabulary_is_padded_with_tokens_that_are_never_decoded(tmp_path: Path) -> None:
    head, tokens, found = export_and_read(BASE_MODEL, tmp_path)
    assert head[1] == 51865
    assert (len(tokens), tokens[220], set(tokens[643:])) == (50257, b" ", {b""})
    weights = load_file(BASE_MODEL / "model.safetensors")
    embedding, original = found["decoder.token_embedding.weight"], weights["model.decoder.embed_tokens.weight"]
    np.testing.assert_array_equal(embedding[:644], original[:644])
    np.testing.assert_array_equal(embedding[50257:], original[644:])
    states = np.random.default_rng(1).standard_normal((50, 160))
    states = (states - states.mean(1, keepdims=True)) / states.std(1, keepdims=True)
    states = states * found["decoder.ln.weight"] + found["decoder.ln.bias"]
    assert states @ embedding[50256].astype(np.float64) == pytest.approx(-30, abs=1)


def test_the_same_checkpoint_gives_the_same_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first, second = (export_checkpoint(GGML, tiny_checkpoint, tmp_path / name).path / "ggml-model.bin" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_special_tokens_in_another_order_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE_MODEL, tmp_path / "checkpoint"))
    tokens = json.loads((folder / "tokenizer.json").read_text())
    ids = {each["content"]: each for each in tokens["added_tokens"]}
    ids["<|es|>"]["id"], ids["<|ru|>"]["id"] = ids["<|ru|>"]["id"], ids["<|es|>"]["id"]
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    generation = json.loads((folder / "generation_config.json").read_text())
    del generation["lang_to_id"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(ExportError, match=r"gives <\|es\|> the id 650; whisper\.cpp expects 649"):
        export_checkpoint(GGML, folder, tmp_path / "ggml")


def test_other_special_tokens_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE_MODEL, tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text())
    tokens = json.loads((folder / "tokenizer.json").read_text())
    weights = load_file(folder / "model.safetensors")
    name = "model.decoder.embed_tokens.weight"
    [removed] = [each["id"] for each in tokens["added_tokens"] if each["content"] == "<|startoflm|>"]
    save_file({**weights, name: np.delete(weights[name], removed, axis=0)}, folder / "model.safetensors")
    tokens["added_tokens"] = [
        {**each, "id": each["id"] - (each["id"] > removed)} for each in tokens["added_tokens"] if each["id"] != removed
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] - 1}))
    with pytest.raises(ExportError, match=r"1607 special tokens; whisper\.cpp reads .* exactly 1608 or 1609"):
        export_checkpoint(GGML, folder, tmp_path / "ggml")
