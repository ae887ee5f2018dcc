"""The interpreter executes saved packages and refuses unknown operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder
from coremltools.converters.mil.mil import types
from coremltools.models import MLModel
from coremltools.optimize import coreml

from habla_ml.errors import ExportError
from habla_ml.runtimes.interface import ModelShape, build_interfaces
from habla_ml.runtimes.mil_interpreter import load_program, run_program
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.coreml_package import edit_specification, save_program

pytestmark = pytest.mark.slow  # the programs are converted first

DECODER_INPUTS = {each.name: each for each in build_interfaces(ModelShape(80, 64, 2, 1866))["TextDecoder"].inputs}


def test_silence_gives_whispers_floor_exactly(converted_model: ConvertedCheckpoint) -> None:
    program = load_program(converted_model.folder / "MelSpectrogram.mlpackage")
    features = run_program(program, {"audio": torch.zeros(480_000)})["melspectrogram_features"]
    assert features.shape == (1, 80, 1, 3000)
    assert features.unique().tolist() == [-1.5]  # (log10(1e-10) + 4) / 4; in float16 the floor would be -inf


def test_results_are_rounded_to_float16(converted_model: ConvertedCheckpoint) -> None:
    program = load_program(converted_model.folder / "AudioEncoder.mlpackage")
    states = run_program(program, {"melspectrogram_features": torch.full((1, 80, 1, 3000), 0.1)})
    embeds = states["encoder_output_embeds"]
    assert torch.equal(embeds, embeds.half().float())


def test_an_overflow_of_float16_is_refused(converted_model: ConvertedCheckpoint) -> None:
    program = load_program(converted_model.folder / "AudioEncoder.mlpackage")
    with pytest.raises(ExportError, match=r"AudioEncoder\.mlpackage is not finite"):
        run_program(program, {"melspectrogram_features": torch.full((1, 80, 1, 3000), 65_000.0)})


def test_an_unknown_operation_is_named(models: Path) -> None:
    def change(specification: Any) -> None:
        main = specification.mlProgram.functions["main"]
        steps = main.block_specializations[main.opset].operations
        next(step for step in steps if step.type == "softmax").type = "cumsum"

    edit_specification(models / "AudioEncoder.mlpackage", change)
    with pytest.raises(ExportError, match="'cumsum'"):
        load_program(models / "AudioEncoder.mlpackage")


def test_a_missing_input_is_named(converted_model: ConvertedCheckpoint) -> None:
    with pytest.raises(ExportError, match="melspectrogram_features"):
        run_program(load_program(converted_model.folder / "AudioEncoder.mlpackage"), {})


def test_the_encoder_attends_by_head_in_chunks_of_256_queries(converted_model: ConvertedCheckpoint) -> None:
    program = load_program(converted_model.folder / "AudioEncoder.mlpackage")
    kinds = [operation.kind for operation in program.operations]
    assert (kinds.count("einsum"), kinds.count("softmax"), kinds.count("matmul")) == (48, 24, 0)  # layers · heads · 6


def test_bound_inputs_change_no_bit_of_a_result(converted_model: ConvertedCheckpoint) -> None:
    decoder = load_program(converted_model.folder / "TextDecoder.mlpackage")
    torch.manual_seed(3)
    inputs = {name: torch.randn(each.shape) for name, each in DECODER_INPUTS.items()}
    inputs |= {"input_ids": torch.tensor([7]), "cache_length": torch.tensor([2])}
    audio = {"encoder_output_embeds": inputs.pop("encoder_output_embeds")}
    bound = decoder.bind(audio)
    assert len(bound.operations) < len(decoder.operations), "nothing was computed in advance"
    whole, part = decoder({**inputs, **audio}), bound(inputs)
    assert whole.keys() == part.keys() == set(decoder.outputs)
    assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_an_integer_beyond_its_type_is_not_kept(tmp_path: Path) -> None:
    @Builder.program(input_specs=[Builder.TensorSpec((3,), types.int32)], opset_version=coremltools.target.iOS17)
    def narrow(x: Any) -> Any:
        whole = Builder.cast(x=Builder.cast(x=x, dtype="int16"), dtype="int32")
        is_token = Builder.greater_equal(x=whole, y=0)
        return Builder.select(cond=is_token, a=whole, b=Builder.add(x=whole, y=100), name="token")

    program = load_program(save_program(narrow, tmp_path / "Narrow.mlpackage", "iOS17"))
    assert run_program(program, {"x": torch.tensor([7, -3, 50_258])})["token"].tolist() == [7, 97, 50_258 - 2**16 + 100]


def test_compressed_weights_of_ios_18_are_those_that_coremltools_decompresses(tmp_path: Path) -> None:
    weight = np.random.default_rng(6).standard_normal((32, 400)).astype(np.float16)

    @Builder.program(input_specs=[Builder.TensorSpec((1, 400))], opset_version=coremltools.target.iOS18)
    def multiply(x: Any) -> Any:
        return Builder.linear(x=x, weight=weight, name="product")

    model = MLModel(str(save_program(multiply, tmp_path / "Whole.mlpackage", "iOS18")), skip_model_load=True)
    groups = {"granularity": "per_grouped_channel", "group_size": 16}
    configs = [
        coreml.OpPalettizerConfig(mode="kmeans", nbits=6, weight_threshold=1000),
        coreml.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=1000, **groups),
        coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=1000),
    ]
    products = []
    for index, config in enumerate(configs):
        compress = coreml.linear_quantize_weights if index == 2 else coreml.palettize_weights
        small = compress(model, coreml.OptimizationConfig(global_config=config))
        small.save(str(tmp_path / f"{index}.mlpackage"))
        coreml.decompress_weights(small).save(str(tmp_path / f"{index}-whole.mlpackage"))
        programs = [load_program(tmp_path / f"{index}{end}.mlpackage") for end in ("", "-whole")]
        product, expected = (each({"x": torch.ones(1, 400)})["product"] for each in programs)
        torch.testing.assert_close(product, expected, atol=0.01, rtol=0.002)
        products.append(product)
    assert not torch.equal(products[0], products[1]), "nothing was compressed"
