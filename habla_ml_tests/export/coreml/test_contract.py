"""Every difference of a saved package from WhisperKit's interface is reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.contract import find_contract_problems
from habla_ml.export.coreml.target import COREML_TARGETS
from habla_ml.runtimes.interface import build_interfaces, read_model_shape
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.coreml_package import edit_specification

pytestmark = pytest.mark.slow

IOS_16 = COREML_TARGETS["iOS16"]


def test_the_saved_packages_have_the_required_interface(converted_model: ConvertedCheckpoint) -> None:
    assert find_contract_problems(converted_model.folder, converted_model.checkpoint, IOS_16) == []


def test_the_interface_of_whisper_small_is_whisperkits(converted_model: ConvertedCheckpoint, tmp_path: Path) -> None:
    config = json.loads((converted_model.checkpoint / "config.json").read_text())
    config.update(d_model=768, decoder_layers=12, vocab_size=51865)
    (tmp_path / "config.json").write_text(json.dumps(config))
    interfaces = build_interfaces(read_model_shape(tmp_path))
    decoder = {feature.name: feature for feature in interfaces["TextDecoder"].inputs}
    outputs = {feature.name: feature for feature in interfaces["TextDecoder"].outputs}
    assert decoder["key_cache"].shape == (1, 9216, 1, 448)
    assert (decoder["input_ids"].shape, decoder["input_ids"].dtype) == ((1,), "int32")
    assert outputs["logits"].shape == (1, 1, 51865)
    assert outputs["alignment_heads_weights"].shape == (1, 1500)
    assert interfaces["MelSpectrogram"].outputs[0].shape == (1, 80, 1, 3000)
    assert {f.dtype for interface in interfaces.values() for f in interface.outputs} == {"float16"}


def test_a_float32_output_is_a_problem(models: Path) -> None:
    def widen(specification: Any) -> None:
        specification.description.output[0].type.multiArrayType.dataType = 65568

    edit_specification(models / "AudioEncoder.mlpackage", widen)
    assert find_contract_problems(models, models / "checkpoint", IOS_16) == [
        "AudioEncoder: output encoder_output_embeds is float32 [1, 64, 1, 1500], expected float16 [1, 64, 1, 1500]."
    ]


def test_a_renamed_input_is_missing_and_unexpected(models: Path) -> None:
    def rename(specification: Any) -> None:
        specification.description.input[0].name = "tokens"

    edit_specification(models / "TextDecoder.mlpackage", rename)
    assert find_contract_problems(models, models / "checkpoint", IOS_16) == [
        "TextDecoder: input input_ids is missing.",
        "TextDecoder: input tokens is not in the contract.",
    ]


def test_another_shape_and_specification_version_are_problems(models: Path) -> None:
    def change(specification: Any) -> None:
        specification.specificationVersion = 8
        specification.description.output[0].type.multiArrayType.shape[1] = 128

    edit_specification(models / "MelSpectrogram.mlpackage", change)
    version, shape = find_contract_problems(models, models / "checkpoint", IOS_16)
    assert version == "MelSpectrogram: specification version 8, expected 7."
    assert shape.endswith("is float16 [1, 128, 1, 3000], expected float16 [1, 80, 1, 3000].")


def test_a_missing_package_is_a_problem(models: Path) -> None:
    shutil.rmtree(models / "AudioEncoder.mlpackage")
    (problem,) = find_contract_problems(models, models / "checkpoint", IOS_16)
    assert "AudioEncoder.mlpackage is missing" in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_source_positions", 750), ("max_target_positions", 128), ("activation_function", "relu")],
)
def test_another_whisper_architecture_is_refused(
    converted_model: ConvertedCheckpoint, tmp_path: Path, key: str, value: object
) -> None:
    config = json.loads((converted_model.checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ExportError, match=key):
        read_model_shape(tmp_path)
