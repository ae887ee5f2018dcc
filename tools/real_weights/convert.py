"""Convert a float16 CTranslate2 Whisper model back to a Transformers folder, without loss.

The file (version 6 of CTranslate2's binary format) is the version, the name and revision of the specification, then for
each variable its name, shape, type and bytes, and a table of aliases. Self-attention stacks the projections q, k and v in
`linear_0`; cross-attention has q in `linear_0` and stacks k and v in `linear_1`. Whisper's k has no bias, so CTranslate2
stores zeros there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from habla_ml.errors import HablaError
from habla_ml.training.complete_base_model import complete_base_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BINARY_VERSION: Final = 6
_TYPES: Final = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""Numbers of CTranslate2's data types; bfloat16 (5) has none in numpy."""
_HEAD_SIZE: Final = 64
"""Whisper's heads are this wide in every size."""
_NORMS: Final = {"gamma": "weight", "beta": "bias"}


def convert_to_transformers(source: Path, out: Path) -> tuple[str, ...]:
    """Write a complete Transformers folder from a CTranslate2 folder; return what `complete_base_model` added.

    Args:
        source: Folder with `model.bin` in float16 or float32, `config.json` and `tokenizer.json`.
        out: The new folder; it must not exist.

    Raises:
        HablaError: A variable has no place in Whisper, or a weight of Whisper is missing.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    weights = map_variables(read_variables(source / "model.bin"))
    config = WhisperConfig(**describe_architecture(weights), **_list_token_ids(source))
    with torch.device("meta"):
        expected = set(WhisperForConditionalGeneration(config).state_dict()) - {"proj_out.weight"}  # tied
    if expected != set(weights):
        raise HablaError(
            f"{source / 'model.bin'} and Whisper differ in the weights {sorted(expected ^ set(weights))[:5]}; "
            "fetch the model again"
        )
    incomplete = out.with_name(f".{out.name}.incomplete")
    _write_incomplete(source, config, weights, incomplete)
    try:
        return complete_base_model(incomplete, out)
    finally:
        for path in incomplete.iterdir():
            path.unlink()
        incomplete.rmdir()


def read_variables(path: Path) -> dict[str, Array]:
    """Read a `model.bin`; raises `HablaError` for another version of the format or bytes after the last variable."""
    with path.open("rb") as file:
        (version,) = _unpack(file, "<I")
        if version != _BINARY_VERSION:
            raise HablaError(f"{path} has CTranslate2's binary version {version}; this tool reads {_BINARY_VERSION}")
        spec, _revision = _read_text(file), _unpack(file, "<I")
        if spec != "WhisperSpec":
            raise HablaError(f"{path} has the specification {spec}, expected WhisperSpec")
        (count,) = _unpack(file, "<I")
        variables = dict(_read_variable(file) for _ in range(count))
        (n_aliases,) = _unpack(file, "<I")
        for _ in range(n_aliases):
            alias, name = _read_text(file), _read_text(file)
            variables[alias] = variables[name]
        if file.read(1):
            raise HablaError(f"{path} has bytes after its last variable; fetch it again")
    return variables


def _read_variable(file: BinaryIO) -> tuple[str, Array]:
    name = _read_text(file)
    (rank,) = _unpack(file, "<B")
    shape = _unpack(file, f"<{rank}I")
    data_type, n_bytes = _unpack(file, "<BI")
    return name, np.frombuffer(file.read(n_bytes), _TYPES[data_type]).reshape(shape)


def _read_text(file: BinaryIO) -> str:
    (size,) = _unpack(file, "<H")
    return file.read(size).rstrip(b"\0").decode()


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def map_variables(variables: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights by their names in Transformers; raises `HablaError` for a variable without a place there."""
    weights: dict[str, Array] = {}
    for name, value in variables.items():
        for target, part in _map_variable(name, value):
            weights[target] = part
    return weights


def _map_variable(name: str, value: Array) -> Iterator[tuple[str, Array]]:
    side, *path = name.split("/")
    prefix = f"model.{side}"
    match path:
        case [_] if not value.shape:
            return  # a setting such as num_heads or activation
        case ["embeddings", "weight"]:
            yield f"{prefix}.embed_tokens.weight", value
        case ["projection", "weight"]:
            return  # tied to the embeddings
        case ["position_encodings", "encodings"]:
            yield f"{prefix}.embed_positions.weight", value
        case ["conv1" | "conv2" as module, kind]:
            yield f"{prefix}.{module}.{kind}", value
        case ["layer_norm", kind]:
            yield f"{prefix}.layer_norm.{_NORMS[kind]}", value
        case [layer, *inner] if layer.startswith("layer_"):
            yield from _map_layer(f"{prefix}.layers.{layer.removeprefix('layer_')}", inner, name, value)
        case _:
            raise HablaError(f"variable {name} of shape {value.shape} is unknown; the file is from another converter")


def _map_layer(prefix: str, path: list[str], name: str, value: Array) -> Iterator[tuple[str, Array]]:
    match path:
        case ["self_attention", "layer_norm", kind]:
            yield f"{prefix}.self_attn_layer_norm.{_NORMS[kind]}", value
        case ["attention", "layer_norm", kind]:
            yield f"{prefix}.encoder_attn_layer_norm.{_NORMS[kind]}", value
        case ["ffn", "layer_norm", kind]:
            yield f"{prefix}.final_layer_norm.{_NORMS[kind]}", value
        case ["ffn", "linear_0" | "linear_1" as linear, kind]:
            yield f"{prefix}.{'fc1' if linear == 'linear_0' else 'fc2'}.{kind}", value
        case ["self_attention", "linear_0", kind]:
            yield from _split_projections(f"{prefix}.self_attn", ("q_proj", "k_proj", "v_proj"), kind, value)
        case ["attention", "linear_0", kind]:
            yield f"{prefix}.encoder_attn.q_proj.{kind}", value
        case ["attention", "linear_1", kind]:
            yield from _split_projections(f"{prefix}.encoder_attn", ("k_proj", "v_proj"), kind, value)
        case ["self_attention", "linear_1", kind]:
            yield f"{prefix}.self_attn.out_proj.{kind}", value
        case ["attention", "linear_2", kind]:
            yield f"{prefix}.encoder_attn.out_proj.{kind}", value
        case _:
            raise HablaError(f"variable {name} of shape {value.shape} is unknown; the file is from another converter")


def _split_projections(prefix: str, names: tuple[str, ...], kind: str, stacked: Array) -> Iterator[tuple[str, Array]]:
    for name, part in zip(names, np.split(stacked, len(names)), strict=True):
        if (name, kind) == ("k_proj", "bias"):
            if part.any():
                raise HablaError(f"{prefix}.{name} has a bias, and Whisper has none; the file is from another model")
            continue
        yield f"{prefix}.{name}.{kind}", part


def describe_architecture(weights: Mapping[str, Array]) -> dict[str, int]:
    """Return the fields of `WhisperConfig` that the shapes of the weights determine."""
    layers = {
        side: 1 + max(int(name.split(".")[3]) for name in weights if name.startswith(f"model.{side}.layers."))
        for side in ("encoder", "decoder")
    }
    vocab_size, d_model = weights["model.decoder.embed_tokens.weight"].shape
    feed_forward = weights["model.encoder.layers.0.fc1.weight"].shape[0]
    return {
        "vocab_size": vocab_size,
        "d_model": d_model,
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": weights["model.encoder.embed_positions.weight"].shape[0],
        "max_target_positions": weights["model.decoder.embed_positions.weight"].shape[0],
        **{f"{side}_layers": count for side, count in layers.items()},
        **{f"{side}_attention_heads": d_model // _HEAD_SIZE for side in layers},
        **{f"{side}_ffn_dim": feed_forward for side in layers},
    }


def _list_token_ids(source: Path) -> dict[str, Any]:
    """Return the fields of `WhisperConfig` about tokens."""
    end = _read_json(source / "tokenizer.json")["added_tokens"][0]
    if end["content"] != "<|endoftext|>":
        raise HablaError(f"{source / 'tokenizer.json'} has {end['content']} first, expected <|endoftext|>")
    config = _read_json(source / "config.json")
    return {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end["id"]),
        "decoder_start_token_id": end["id"] + 1,
        "suppress_tokens": config["suppress_ids"],
        "begin_suppress_tokens": config["suppress_ids_begin"],
    }


def _write_incomplete(source: Path, config: Any, weights: Mapping[str, Array], folder: Path) -> None:
    """Write what CTranslate2's folder contains; `complete_base_model` writes the rest."""
    import torch
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = ["WhisperForConditionalGeneration"]
    config.save_pretrained(folder)
    tensors = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in sorted(weights.items())}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "WhisperTokenizer"}\n', "utf-8")
    generation = {"alignment_heads": _read_json(source / "config.json")["alignment_heads"]}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content
