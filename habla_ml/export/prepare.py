"""Checks a trained Whisper folder and writes a complete copy of it for the converters.

Converters read more than the weights, and fail silently: an adapter folder converts to its base model, a missing
feature extractor or tokenizer is replaced by another model's, and a missing `lang_to_id` fails only in language
detection. Faults are repaired where the checkpoint contains the answer, and every repair is reported.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.errors import ExportError
from habla_ml.export.exporter import Progress
from habla_ml.export.tokenizer_vocabulary import TokenizerVocabulary, list_language_tokens, read_tokenizer_vocabulary
from habla_ml.lfs_pointer import LFS_FAULT, is_lfs_pointer

if TYPE_CHECKING:
    import torch

COMPANION_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What a prepared folder has beside the weights, and an app needs beside the programs."""

_LOADABLE_TOKENIZERS = ("WhisperTokenizer", "WhisperTokenizerFast")
_LOCAL_PATH_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
_EXTRACTOR_DEFAULTS: dict[str, Any] = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
}


@dataclass(frozen=True)
class PreparedCheckpoint:
    """A folder with exactly the files that the converters read, all of them checked."""

    folder: Path
    vocab_size: int
    """Rows of the output projection, timestamps included."""
    repairs: tuple[str, ...]
    """One sentence for each fault that was repaired."""


def prepare_checkpoint(checkpoint: Path, out: Path, progress: Progress) -> PreparedCheckpoint:
    """Write a checked copy of a trained Whisper checkpoint.

    `checkpoint` is a folder of Transformers 4 or 5 with merged weights; `out` must not exist and not be inside it.

    Raises:
        ExportError: The folder is an adapter or no Whisper, lacks a file or field that only it can supply, or its
            parts do not match.
    """
    from safetensors.torch import save_file

    _check_paths(checkpoint, out)
    repairs: list[str] = []
    config = _read_json(checkpoint, "config.json")
    if config.get("model_type") != "whisper":
        raise ExportError(
            f"{checkpoint}/config.json has model_type {config.get('model_type')!r}; only 'whisper' can be exported."
        )
    vocabulary = read_tokenizer_vocabulary(checkpoint / "tokenizer.json")
    vocabulary.check_size(int(config["vocab_size"]))
    texts = {
        "config.json": {**_drop_keys(config, (*_LOCAL_PATH_KEYS, "torch_dtype")), "dtype": "float32"},
        "generation_config.json": _build_generation_config(checkpoint, config, vocabulary, repairs),
        "preprocessor_config.json": _build_extractor_config(checkpoint, config, repairs),
        "tokenizer_config.json": _build_tokenizer_config(checkpoint, repairs),
    }
    progress("prepare: reading the weights")
    weights = _load_checked_weights(checkpoint, texts["config.json"])
    out.mkdir(parents=True)
    for name, content in texts.items():
        (out / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(checkpoint / "tokenizer.json", out / "tokenizer.json")
    save_file(dict(sorted(weights.items())), out / "model.safetensors", metadata={"format": "pt"})
    progress(f"prepare: {len(weights)} tensors in float32; " + ("; ".join(repairs) or "no repairs"))
    return PreparedCheckpoint(out, int(config["vocab_size"]), tuple(repairs))


def _check_paths(checkpoint: Path, out: Path) -> None:
    if not checkpoint.is_dir():
        raise ExportError(f"The checkpoint {checkpoint} is not a folder; give the folder that contains config.json.")
    if (checkpoint / "adapter_config.json").exists():
        raise ExportError(
            f"{checkpoint} contains adapter_config.json: converting it would export the base model without the "
            "adapter. Merge the adapter into the base weights and save to a fresh folder first."
        )
    if out.exists():
        raise ExportError(f"{out} exists already and is not overwritten; give a new folder.")
    if out.resolve().is_relative_to(checkpoint.resolve()):
        raise ExportError(f"{out} is inside the checkpoint {checkpoint}; give a folder outside it.")


def _read_json(checkpoint: Path, name: str) -> dict[str, Any]:
    path = checkpoint / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise ExportError(
            f"{checkpoint} has no {name}; copy it from the base model the checkpoint was trained from."
        ) from missing
    except (UnicodeDecodeError, json.JSONDecodeError) as broken:
        raise ExportError(f"{path} is not JSON ({broken}); copy it again from the base model.") from broken
    if not isinstance(content, dict):
        raise ExportError(f"{path} contains a {type(content).__name__}; expected a JSON object.")
    return content


def _drop_keys(content: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _build_generation_config(
    checkpoint: Path, config: dict[str, Any], vocabulary: TokenizerVocabulary, repairs: list[str]
) -> dict[str, Any]:
    """Return the complete generation settings; transformers 5 drops fields marked `_from_model_config`."""
    content = _read_json(checkpoint, "generation_config.json")
    if content.pop("_from_model_config", False):
        repairs.append("generation_config.json had _from_model_config: removed, because loading would drop its fields")
    if not content.get("lang_to_id"):
        content["lang_to_id"] = list_language_tokens(vocabulary)
        repairs.append(f"lang_to_id was missing: {len(content['lang_to_id'])} languages taken from the tokenizer")
    for token, token_id in content["lang_to_id"].items():
        if vocabulary.ids.get(token) != token_id:
            raise ExportError(
                f"generation_config.json of {checkpoint} gives {token} the id {token_id}, its tokenizer.json "
                f"gives {vocabulary.ids.get(token)}; both must come from the same base model."
            )
    content["alignment_heads"] = _check_alignment_heads(checkpoint, content.get("alignment_heads"), config, repairs)
    content.setdefault("no_timestamps_token_id", vocabulary.ids["<|notimestamps|>"])
    content.setdefault("is_multilingual", True)
    content.setdefault("task_to_id", {t: vocabulary.ids[f"<|{t}|>"] for t in ("transcribe", "translate")})
    content.setdefault("decoder_start_token_id", vocabulary.ids["<|startoftranscript|>"])
    content.setdefault("eos_token_id", vocabulary.ids["<|endoftext|>"])
    return content


def _check_alignment_heads(
    checkpoint: Path, heads: object, config: dict[str, Any], repairs: list[str]
) -> list[list[int]]:
    n_layers, n_heads = int(config["decoder_layers"]), int(config["decoder_attention_heads"])
    if not heads:
        repairs.append(
            "alignment_heads were missing: all heads of the last half of the decoder are used, and word times are "
            "poor; copy alignment_heads from the base model's generation_config.json for better ones"
        )
        return [[layer, head] for layer in range(n_layers // 2, n_layers) for head in range(n_heads)]
    allowed = [[layer, head] for layer in range(n_layers) for head in range(n_heads)]
    if not isinstance(heads, list) or any(pair not in allowed for pair in heads):
        raise ExportError(
            f"alignment_heads {heads!r} in {checkpoint}/generation_config.json are not [layer, head] pairs below "
            f"[{n_layers}, {n_heads}]; copy them from the base model of the same size, or remove the key."
        )
    return heads


def _build_extractor_config(checkpoint: Path, config: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    if (checkpoint / "preprocessor_config.json").exists():
        content = _read_json(checkpoint, "preprocessor_config.json")
    elif (checkpoint / "processor_config.json").exists():
        content = _read_json(checkpoint, "processor_config.json").get("feature_extractor") or {}
        repairs.append("preprocessor_config.json was missing: written from processor_config.json")
    else:
        content = {}
        repairs.append("no feature extractor was saved: preprocessor_config.json has Whisper's defaults")
    content = {**_EXTRACTOR_DEFAULTS, "feature_size": int(config["num_mel_bins"]), **content}
    content.pop("mel_filters", None)
    if content["feature_size"] != config["num_mel_bins"]:
        raise ExportError(
            f"The feature extractor of {checkpoint} has {content['feature_size']} mel bands, the encoder expects "
            f"{config['num_mel_bins']}; copy the feature extractor of the base model."
        )
    return content


def _build_tokenizer_config(checkpoint: Path, repairs: list[str]) -> dict[str, Any]:
    path = checkpoint / "tokenizer_config.json"
    content = _read_json(checkpoint, path.name) if path.exists() else {}
    if content.get("tokenizer_class") not in _LOADABLE_TOKENIZERS:
        repairs.append(f"tokenizer_class was {content.get('tokenizer_class')!r}: set to 'WhisperTokenizer'")
        content["tokenizer_class"] = "WhisperTokenizer"
    return _drop_keys(content, _LOCAL_PATH_KEYS)


def _load_checked_weights(checkpoint: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return all tensors in float32. Loaders only log a missing tensor and fill it with noise, so names are compared."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    found = _read_tensors(checkpoint)
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**config))
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.get("tie_word_embeddings", True):
        wanted.pop("proj_out.weight", None)
        found.pop("proj_out.weight", None)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    problems = [
        *(f"{name} is missing" for name in sorted(wanted.keys() - shapes.keys())),
        *(f"{name} is unknown" for name in sorted(shapes.keys() - wanted.keys())),
        *(
            f"{name} has shape {shapes[name]} instead of {shape}"
            for name, shape in wanted.items()
            if shapes.get(name, shape) != shape
        ),
        *(f"{name} contains NaN or infinity" for name, tensor in found.items() if not torch.isfinite(tensor).all()),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ExportError(
            f"The weights of {checkpoint} do not match its config.json: {'; '.join(problems[:3])}{more}. Export a merged, "
            "unchanged checkpoint."
        )
    return {name: tensor.to(torch.float32).contiguous() for name, tensor in found.items()}


def _read_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    names = ["model.safetensors"]
    if (checkpoint / "model.safetensors.index.json").exists():
        index = _read_json(checkpoint, "model.safetensors.index.json")
        names = sorted(set(index["weight_map"].values()))
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        path = checkpoint / name
        if not path.exists():
            raise ExportError(f"{checkpoint} has no {name}; complete the folder with `habla-ml complete-base-model`.")
        if is_lfs_pointer(path):
            raise ExportError(f"{path} {LFS_FAULT}.")
        try:
            tensors.update(load_file(path))
        except SafetensorError as broken:
            raise ExportError(f"{path} cannot be read ({broken}); copy or save it again.") from broken
    return tensors
