"""The ggml file itself; that whisper.cpp says the same with it is tested with the engine."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from habla_ml.errors import ExportError
from habla_ml.export.ggml import GgmlArtefact, convert_to_ggml
from habla_ml_tests.evaluation.conftest import BASE_MODEL
from habla_ml_tests.testing.full_vocabulary_checkpoint import VOCAB_SIZE, write_full_vocabulary_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_full_vocabulary_checkpoint(tmp_path_factory.mktemp("widened") / "checkpoint")


@pytest.fixture(scope="module")
def artefact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> GgmlArtefact:
    return convert_to_ggml(checkpoint, tmp_path_factory.mktemp("ggml") / "model")


def read_ggml_file(path: Path) -> tuple[tuple[int, ...], list[bytes], dict[str, np.ndarray]]:
    """Numbers, tokens and tensors, as whisper.cpp's `whisper_model_load` reads them."""
    data, at = path.read_bytes(), 0

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
    checkpoint: Path, artefact: GgmlArtefact
) -> None:
    from safetensors.numpy import load_file

    head, tokens, found = read_ggml_file(artefact.folder / "ggml-model.bin")
    assert head == (0x67676D6C, VOCAB_SIZE, 1500, 160, 4, 4, 448, 160, 4, 2, 80, 1)
    assert len(tokens) == 50257
    assert (tokens[0], tokens[220], tokens[-1]) == (b"!", b" ", b"")
    assert b"\xc3" in tokens, "a byte of a letter with an accent is a token of its own"
    weights = load_file(checkpoint / "model.safetensors")
    assert len(found) == len(weights)
    for ours, theirs in (
        ("decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"),
        ("decoder.blocks.1.cross_attn.key.weight", "model.decoder.layers.1.encoder_attn.k_proj.weight"),
        ("encoder.blocks.3.mlp.2.bias", "model.encoder.layers.3.fc2.bias"),
        ("encoder.ln_post.bias", "model.encoder.layer_norm.bias"),
        ("encoder.conv2.weight", "model.encoder.conv2.weight"),
    ):
        np.testing.assert_array_equal(found[ours], weights[theirs].astype(found[ours].dtype))
    assert found["encoder.conv1.bias"].shape == (160, 1)
    in_float32 = {name for name, tensor in found.items() if tensor.dtype == np.float32}
    assert {"encoder.positional_embedding", "decoder.ln.weight", "encoder.conv1.bias"} <= in_float32
    assert not any(name.endswith("attn.key.weight") for name in in_float32)


def test_the_same_checkpoint_gives_the_same_bytes(
    checkpoint: Path, artefact: GgmlArtefact, tmp_path: Path
) -> None:
    again = convert_to_ggml(checkpoint, tmp_path / "again")
    assert (again.sha256, again.size_bytes) == (artefact.sha256, artefact.size_bytes)
    with pytest.raises(ExportError, match="exists already"):
        convert_to_ggml(checkpoint, tmp_path / "again")


def test_a_vocabulary_that_is_not_whispers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"2249 is none it\s*knows \(51865, 51866\)"):
        convert_to_ggml(BASE_MODEL, tmp_path / "ggml")
    assert not (tmp_path / "ggml").exists()


def test_special_tokens_in_other_places_are_refused(tmp_path: Path) -> None:
    folder = write_full_vocabulary_checkpoint(tmp_path / "checkpoint")
    tokens = json.loads((folder / "tokenizer.json").read_text())
    ids = {each["content"]: each for each in tokens["added_tokens"]}
    ids["<|es|>"]["id"], ids["<|ru|>"]["id"] = ids["<|ru|>"]["id"], ids["<|es|>"]["id"]
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    generation = json.loads((folder / "generation_config.json").read_text())
    del generation["lang_to_id"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(ExportError, match=r"gives <\|es\|> the id 50263; whisper\.cpp takes 50262"):
        convert_to_ggml(folder, tmp_path / "ggml")
