"""The interface with which WhisperKit calls the three programs, and a check of the saved packages.

Names, shapes and types are those of WhisperKit's own models (argmaxinc, `MelSpectrogram`, `AudioEncoder`,
`TextDecoder`). The app reads sizes from the shapes and copies two bytes per output value, so a wrong name or type
fails only on the phone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from habla_ml.errors import ExportError

SPECIFICATION_VERSION = 7
MINIMUM_IOS = 16
SOURCE_POSITIONS = 1500
"""Encoder states of a 30 s window."""
TARGET_POSITIONS = 448
"""Tokens of a decoder cache."""
MODEL_NAMES = ("MelSpectrogram", "AudioEncoder", "TextDecoder")

_ARRAY_TYPE_NAMES = {65552: "float16", 65568: "float32", 131104: "int32"}  # ArrayFeatureType.ArrayDataType


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


def build_contract(shape: ModelShape) -> dict[str, ProgramInterface]:
    """Return the required interface by program name."""
    mel = FeatureSpec("melspectrogram_features", (1, shape.n_mels, 1, 2 * SOURCE_POSITIONS))
    audio = FeatureSpec("encoder_output_embeds", (1, shape.d_model, 1, SOURCE_POSITIONS))
    channels, length = shape.d_model * shape.decoder_layers, TARGET_POSITIONS
    return {
        "MelSpectrogram": ProgramInterface((FeatureSpec("audio", (480_000,)),), (mel,)),
        "AudioEncoder": ProgramInterface((mel,), (audio,)),
        "TextDecoder": ProgramInterface(
            (
                FeatureSpec("input_ids", (1,), "int32"),
                FeatureSpec("cache_length", (1,), "int32"),
                FeatureSpec("key_cache", (1, channels, 1, length)),
                FeatureSpec("value_cache", (1, channels, 1, length)),
                FeatureSpec("kv_cache_update_mask", (1, length)),
                audio,
                FeatureSpec("decoder_key_padding_mask", (1, length)),
            ),
            (
                FeatureSpec("logits", (1, 1, shape.vocab_size)),
                FeatureSpec("key_cache_updates", (1, channels, 1, 1)),
                FeatureSpec("value_cache_updates", (1, channels, 1, 1)),
                FeatureSpec("alignment_heads_weights", (1, SOURCE_POSITIONS)),
            ),
        ),
    }


def find_contract_problems(models_folder: Path, checkpoint: Path) -> list[str]:
    """Return one sentence per difference between the saved packages and the required interface.

    `models_folder` contains a package for each of `MODEL_NAMES`, converted from the prepared folder `checkpoint`.
    """
    problems: list[str] = []
    for name, interface in build_contract(read_model_shape(checkpoint)).items():
        package = models_folder / f"{name}.mlpackage"
        if not package.is_dir():
            problems.append(f"{name}: {package} is missing.")
            continue
        problems += [f"{name}: {problem}" for problem in _find_package_problems(package, interface)]
    return problems


def _find_package_problems(package: Path, interface: ProgramInterface) -> list[str]:
    from coremltools.models.utils import load_spec

    specification = load_spec(str(package))
    problems, version = [], specification.specificationVersion
    if version != SPECIFICATION_VERSION:
        problems.append(f"specification version {version}, expected {SPECIFICATION_VERSION}.")
    if (kind := specification.WhichOneof("Type")) != "mlProgram":
        problems.append(f"a {kind}, expected an mlProgram.")
    problems += _find_feature_problems("input", specification.description.input, interface.inputs)
    problems += _find_feature_problems("output", specification.description.output, interface.outputs)
    return problems


def _find_feature_problems(kind: str, saved: Any, expected: tuple[FeatureSpec, ...]) -> list[str]:
    arrays = {item.name: item.type.multiArrayType for item in saved}
    found = {
        name: FeatureSpec(name, tuple(array.shape), _ARRAY_TYPE_NAMES.get(array.dataType, str(array.dataType)))
        for name, array in arrays.items()
    }
    problems = [f"{kind} {name} is not in the contract." for name in found.keys() - {f.name for f in expected}]
    for feature in expected:
        actual = found.get(feature.name)
        if actual is None:
            problems.append(f"{kind} {feature.name} is missing.")
        elif actual != feature:
            problems.append(
                f"{kind} {feature.name} is {actual.dtype} {list(actual.shape)}, expected "
                f"{feature.dtype} {list(feature.shape)}."
            )
    return sorted(problems)
