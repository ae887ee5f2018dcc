"""Names, shapes and types of the three programs of a Whisper: those with which WhisperKit calls its own models.

The models are argmaxinc's `MelSpectrogram`, `AudioEncoder` and `TextDecoder`. An app reads sizes from the shapes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import ExportError

SOURCE_POSITIONS = 1500
"""Encoder states of a 30 s window."""
TARGET_POSITIONS = 448
"""Tokens of a decoder cache."""
CACHE_NAMES = ("key_cache", "value_cache")
"""Of a decoder: its inputs, or its states."""
PROGRAM_NAMES = ("MelSpectrogram", "AudioEncoder", "TextDecoder")


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a `config.json` that the interface depends on."""

    n_mels: int
    d_model: int
    decoder_layers: int
    vocab_size: int


@dataclass(frozen=True)
class FeatureSpec:
    """One input or output of fixed shape."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float16"
    """`float16` or `int32`."""


@dataclass(frozen=True)
class ProgramInterface:
    """Inputs and outputs of one program."""

    inputs: tuple[FeatureSpec, ...]
    outputs: tuple[FeatureSpec, ...]
    states: tuple[FeatureSpec, ...] = ()
    """Kept between calls by Core ML, from iOS 18 on; empty before the first call."""


def read_model_shape(checkpoint: Path) -> ModelShape:
    """Read the sizes of a prepared checkpoint.

    Raises:
        ExportError: The architecture is not the one that WhisperKit and `modules` implement.
    """
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    for key, expected in (
        ("max_source_positions", SOURCE_POSITIONS),
        ("max_target_positions", TARGET_POSITIONS),
        ("activation_function", "gelu"),
        ("scale_embedding", False),
    ):
        if (found := config.get(key, expected)) != expected:
            raise ExportError(
                f"{checkpoint}/config.json has {key} {found!r}; the phone's programs need {expected!r}. "
                "Convert only models of OpenAI's Whisper architecture."
            )
    keys = ("num_mel_bins", "d_model", "decoder_layers", "vocab_size")
    return ModelShape(*(int(config[key]) for key in keys))


def build_interfaces(shape: ModelShape, *, is_stateful: bool = False) -> dict[str, ProgramInterface]:
    """Return the interface by program name; ONNX programs have float32 where it has float16.

    The caches of a stateful decoder are states, not inputs, and it has no updates to return.
    """
    mel = FeatureSpec("melspectrogram_features", (1, shape.n_mels, 1, 2 * SOURCE_POSITIONS))
    audio = FeatureSpec("encoder_output_embeds", (1, shape.d_model, 1, SOURCE_POSITIONS))
    channels, length = shape.d_model * shape.decoder_layers, TARGET_POSITIONS
    caches = tuple(FeatureSpec(name, (1, channels, 1, length)) for name in CACHE_NAMES)
    updates = tuple(FeatureSpec(f"{name}_updates", (1, channels, 1, 1)) for name in CACHE_NAMES)
    return {
        "MelSpectrogram": ProgramInterface((FeatureSpec("audio", (480_000,)),), (mel,)),
        "AudioEncoder": ProgramInterface((mel,), (audio,)),
        "TextDecoder": ProgramInterface(
            (
                FeatureSpec("input_ids", (1,), "int32"),
                FeatureSpec("cache_length", (1,), "int32"),
                *(() if is_stateful else caches),
                FeatureSpec("kv_cache_update_mask", (1, length)),
                audio,
                FeatureSpec("decoder_key_padding_mask", (1, length)),
            ),
            (
                FeatureSpec("logits", (1, 1, shape.vocab_size)),
                *(() if is_stateful else updates),
                FeatureSpec("alignment_heads_weights", (1, SOURCE_POSITIONS)),
            ),
            states=caches if is_stateful else (),
        ),
    }
