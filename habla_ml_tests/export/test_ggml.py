"""The content of the GGML file; its transcripts are tested with the engine."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from habla_ml.errors import ExportError
from habla_ml.export.exporter import ConvertedModel
from habla_ml.export.ggml import GGML
from habla_ml.export.whisper_cpp.parity import measure_logit_parity
from habla_ml.export.whisper_cpp.quantise import WEIGHT_TYPES, quantise_matrix
from habla_ml.transcription.whisper_cpp import GGML_FILE
from habla_ml_tests.export.conftest import write_tiny_checkpoint
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint, ignore_progress

GgmlContent = tuple[tuple[int, ...], list[bytes], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def loadable_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights, and with the vocabulary and the ratio of widths that whisper.cpp assumes."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", text_tokens=50257, ffn_dim=256)


@pytest.fixture(scope="module")
def tiny(loadable_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertedModel:
    return export_checkpoint(GGML, loadable_checkpoint, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> ConvertedModel:
    """The demo's base model, whose vocabulary is smaller than Whisper's."""
    return export_checkpoint(GGML, BASE_MODEL, tmp_path_factory.mktemp("padded"))


def read_ggml(converted: ConvertedModel) -> GgmlContent:
    """Return numbers, tokens and tensors, as whisper.cpp's `whisper_model_load` reads them."""
    data, at = (converted.path / GGML_FILE).read_bytes(), 0

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


def test_numbers_tokens_and_tensors_are_where_whisper_cpp_reads_them(
    tiny: ConvertedModel, loadable_checkpoint: Path
) -> None:
    head, tokens, found = read_ggml(tiny)
    assert head == (0x67676D6C, 51865, 1500, 64, 2, 2, 448, 64, 2, 2, 80, 1)
    assert len(tokens) == 50257
    assert (tokens[0], tokens[-1]) == (b"!", b"")
    assert b"\xc3" in tokens, "a byte of an accented letter is a token"
    weights = load_file(loadable_checkpoint / "model.safetensors")
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


def test_a_smaller_vocabulary_is_padded_with_tokens_that_are_never_decoded(padded: ConvertedModel) -> None:
    head, tokens, found = read_ggml(padded)
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


@pytest.mark.long
def test_the_same_checkpoint_gives_the_same_bytes(
    tiny: ConvertedModel, loadable_checkpoint: Path, tmp_path: Path
) -> None:
    again = export_checkpoint(GGML, loadable_checkpoint, tmp_path).path / GGML_FILE
    assert again.read_bytes() == (tiny.path / GGML_FILE).read_bytes()


def test_the_file_computes_what_the_checkpoint_computes(padded: ConvertedModel) -> None:
    parity = padded.details["parity"]
    assert parity["logit_psnr_db"] > 60
    assert parity["largest_logit_difference"] < 0.005 * parity["logit_scale"]
    assert parity["same_argmax"] == parity["compared_tokens"] == 8
    assert 0 < parity["padding_probability"] < 1e-6


@pytest.mark.long
def test_a_type_in_which_the_model_computes_something_else_is_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint", ffn_dim=256)
    with pytest.raises(ExportError, match=r"in q5_1: The logits are at 3\d\.\d dB; at least 34 .* to a larger type"):
        export_checkpoint(GGML, checkpoint, tmp_path / "ggml", "q5_1")


@pytest.mark.parametrize(("name", "bits"), [("q8_0", 8.5), ("q5_1", 6)])
def test_a_quantised_matrix_is_near_the_matrix(name: str, bits: float) -> None:
    matrix = np.random.default_rng(3).standard_normal((6, 96)).astype(np.float32)
    weight_type = WEIGHT_TYPES[name]
    stored = quantise_matrix("matrix", matrix, weight_type)
    assert len(stored) == matrix.size * bits / 8
    difference = np.abs(dequantise(name, stored).reshape(matrix.shape) - matrix)
    blocks = matrix.reshape(-1, 32)
    steps = {"q8_0": np.abs(blocks).max(1) / 127, "q5_1": np.ptp(blocks, axis=1) / 31}[name]
    assert (difference.reshape(-1, 32).max(1) < 0.56 * steps).all()
    assert difference.max() > 0.3 * steps.min()


def dequantise(name: str, stored: bytes) -> np.ndarray:
    """Read whisper.cpp's blocks of 32 weights: `block_q8_0` and `block_q5_1` of `ggml-common.h`."""
    if name == "q8_0":
        blocks = np.frombuffer(stored, [("scale", "<f2"), ("values", "i1", 32)])
        return blocks["values"] * blocks["scale"].astype(np.float32)[:, None]
    blocks = np.frombuffer(stored, [("scale", "<f2"), ("low", "<f2"), ("fifth", "<u4"), ("four", "u1", 16)])
    values = np.concatenate([blocks["four"] & 15, blocks["four"] >> 4], axis=1).astype(np.float32)
    values += 16 * ((blocks["fifth"][:, None] >> np.arange(32, dtype=np.uint32)) & 1)
    return values * blocks["scale"].astype(np.float32)[:, None] + blocks["low"].astype(np.float32)[:, None]


def test_a_row_that_is_no_multiple_of_a_block_is_refused() -> None:
    matrix = np.zeros((2, 48), np.float32)
    with pytest.raises(ExportError, match=r"fc\.weight has rows of 48 weights, .* blocks of 32"):
        quantise_matrix("fc.weight", matrix, WEIGHT_TYPES["q8_0"])


def test_other_widths_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"encoder_ffn_dim 128 and d_model 64; whisper\.cpp loads only .* 4 times"):
        export_checkpoint(GGML, tiny_checkpoint, tmp_path)


@pytest.mark.long
def test_a_file_that_whisper_cpp_refuses_is_named_with_its_reason(tiny: ConvertedModel, tmp_path: Path) -> None:
    cut = tmp_path / "model" / GGML_FILE
    cut.parent.mkdir()
    cut.write_bytes((tiny.path / GGML_FILE).read_bytes()[:-1000])
    prepared = tiny.path.parent / "checkpoint"
    with pytest.raises(
        ExportError, match=r"ended with status 1 on ggml-model\.bin: .*failed to load model.*constraints"
    ):
        measure_logit_parity(cut, prepared, slice(50257, 50257), 60, ignore_progress)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_pywhispercpp", None)
    with pytest.raises(ExportError, match=r"pip install 'habla-ml\[whisper-cpp\]'"):
        export_checkpoint(GGML, tmp_path / "unread", tmp_path / "out")


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
