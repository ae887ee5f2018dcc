"""Parity of the saved packages: small differences for a correct conversion, large ones for a lost weight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.verify import verify_coreml
from habla_ml.export.programs.parity import find_parity_problems
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.export_checkpoint import ignore_progress

pytestmark = pytest.mark.slow

FLOAT16 = COREML_QUANTISATIONS["float16"].bounds


def damage_weights(package: Path) -> None:
    """Shift 16 KiB in the middle of the weights by 4 KiB."""
    path = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    stored = np.fromfile(path, dtype=np.uint8)
    middle = stored.size // 2 // 64 * 64
    stored[middle : middle + 16_384] = stored[middle + 4_096 : middle + 20_480]
    stored.tofile(path)


def test_a_correct_conversion_differs_by_float16_rounding_only(converted_model: ConvertedCheckpoint) -> None:
    parity = converted_model.conversion.parity
    assert parity.encoder_psnr_db > 60
    assert parity.mel_largest_difference < 0.001
    assert parity.largest_logit_difference < 0.01 * parity.logit_scale
    assert parity.alignment_largest_difference < 0.002
    assert parity.same_argmax == parity.compared_tokens == 8
    assert find_parity_problems(parity, FLOAT16) == []


@pytest.mark.long
def test_a_damaged_encoder_is_detected(models: Path) -> None:
    damage_weights(models / "AudioEncoder.mlpackage")
    problems = find_parity_problems(verify_coreml(models, models / "checkpoint", ignore_progress), FLOAT16)
    assert any(problem.startswith("AudioEncoder is at") for problem in problems)


@pytest.mark.long
def test_a_decoder_of_another_checkpoint_is_detected(converted_model: ConvertedCheckpoint, models: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = models / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.decoder.layers.0.self_attn.v_proj.weight"] *= -1.0
    save_file(tensors, path, metadata={"format": "pt"})
    problems = find_parity_problems(verify_coreml(models, models / "checkpoint", ignore_progress), FLOAT16)
    assert [problem.split()[0] for problem in problems] == ["TextDecoder"]


def test_each_value_out_of_range_is_one_problem(converted_model: ConvertedCheckpoint) -> None:
    good = converted_model.conversion.parity
    assert "30.0 dB" in find_parity_problems(replace(good, encoder_psnr_db=30.0), FLOAT16)[0]
    assert "0.0300" in find_parity_problems(replace(good, mel_largest_difference=0.03), FLOAT16)[0]
    assert "1.0000" in find_parity_problems(replace(good, logit_scale=10.0, largest_logit_difference=1.0), FLOAT16)[0]
    assert len(find_parity_problems(replace(good, encoder_psnr_db=float("nan")), FLOAT16)) == 1
