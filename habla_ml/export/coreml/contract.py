"""The names, shapes and types WhisperKit calls the three programs with, and a check of what was saved.

The contract is that of WhisperKit's own models (argmaxinc, `MelSpectrogram`, `AudioEncoder`, `TextDecoder`): the
app reads sizes off the shapes and copies outputs as two bytes a value, so a name or a type that differs fails
only on the phone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from habla_ml.errors import ExportError

SPECIFICATION_VERSION = 7
MINIMUM_IOS = 16
MODEL_NAMES = ("MelSpectrogram", "AudioEncoder", "TextDecoder")

_ARRAY_TYPE_NAMES = {65552: "float16", 65568: "float32", 131104: "int32"}  # ArrayFeatureType.ArrayDataType


@dataclass(frozen=True)
class ModelShape:
    """The numbers of a `config.json` that the contract depends on.

    Attributes:
        n_mels: Mel bands.
        d_model: Width of encoder and decoder.
        decoder_layers: Layers with a cache each.
        vocab_size: Logits a step.
        source_positions: Encoder states of a window, 1500.
        target_positions: Tokens a cache holds, 448.
    """

    n_mels: int
    d_model: int
    decoder_layers: int
    vocab_size: int
    source_positions: int
    target_positions: int


@dataclass(frozen=True)
class FeatureSpec:
    """One input or output.

    Attributes:
        name: As the app calls it.
        shape: Fixed.
        dtype: `float16` or `int32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float16"


@dataclass(frozen=True)
class ProgramInterface:
    """Inputs and outputs of one program."""

    inputs: tuple[FeatureSpec, ...]
    outputs: tuple[FeatureSpec, ...]


def read_model_shape(checkpoint: Path) -> ModelShape:
    """Read the sizes of a prepared checkpoint.

    Raises:
        ExportError: It is not of the one architecture that WhisperKit and `modules` implement.
    """
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    for key, expected in (
        ("max_source_positions", 1500),
        ("max_target_positions", 448),
        ("activation_function", "gelu"),
        ("scale_embedding", False),
    ):
        found = config.get(key, expected)
        if found != expected:
            raise ExportError(
                f"{checkpoint}/config.json has {key} {found!r}; the phone's programs need {expected!r}. "
                "Only models of OpenAI's Whisper shape can be converted."
            )
    return ModelShape(
        n_mels=int(config["num_mel_bins"]),
        d_model=int(config["d_model"]),
        decoder_layers=int(config["decoder_layers"]),
        vocab_size=int(config["vocab_size"]),
        source_positions=1500,
        target_positions=448,
    )


def build_contract(shape: ModelShape) -> dict[str, ProgramInterface]:
    """What each program must take and give, by program name."""
    mel = FeatureSpec("melspectrogram_features", (1, shape.n_mels, 1, 2 * shape.source_positions))
    audio = FeatureSpec("encoder_output_embeds", (1, shape.d_model, 1, shape.source_positions))
    channels, length = shape.d_model * shape.decoder_layers, shape.target_positions
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
                FeatureSpec("alignment_heads_weights", (1, shape.source_positions)),
            ),
        ),
    }


def find_contract_problems(models_folder: Path, checkpoint: Path) -> list[str]:
    """Compare the saved packages with the contract.

    Args:
        models_folder: Holds `MelSpectrogram.mlpackage`, `AudioEncoder.mlpackage`, `TextDecoder.mlpackage`.
        checkpoint: The prepared folder they were made of.

    Returns:
        One sentence for each difference; empty when an app can call them.
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
    problems = []
    if specification.specificationVersion != SPECIFICATION_VERSION:
        problems.append(
            f"specification version {specification.specificationVersion}, expected {SPECIFICATION_VERSION}."
        )
    if specification.WhichOneof("Type") != "mlProgram":
        problems.append(f"a {specification.WhichOneof('Type')}, expected an mlProgram.")
    problems += _find_feature_problems("input", specification.description.input, interface.inputs)
    problems += _find_feature_problems("output", specification.description.output, interface.outputs)
    return problems


def _find_feature_problems(kind: str, saved: Any, expected: tuple[FeatureSpec, ...]) -> list[str]:
    found = {}
    for item in saved:
        array = item.type.multiArrayType
        dtype = _ARRAY_TYPE_NAMES.get(array.dataType, str(array.dataType))
        found[item.name] = FeatureSpec(item.name, tuple(array.shape), dtype)
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
