"""The ONNX programs run in onnxruntime by path alone, compute what the checkpoint computes, and name no machine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from habla_ml.errors import ExportError
from habla_ml.export.exporter import ConvertedModel
from habla_ml.export.onnx import ONNX
from habla_ml_tests.testing.export_checkpoint import export_checkpoint

PROGRAMS = ("MelSpectrogram", "AudioEncoder", "TextDecoder")


@pytest.fixture(scope="module")
def made(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertedModel:
    return export_checkpoint(ONNX, tiny_checkpoint, tmp_path_factory.mktemp("onnx"), "float32")


@pytest.mark.slow
def test_the_programs_compute_what_the_checkpoint_computes(made: ConvertedModel) -> None:
    parity = made.details["parity"]
    assert parity["encoder_psnr_db"] > 100
    assert parity["largest_logit_difference"] < 1e-3
    assert parity["same_argmax"] == parity["compared_tokens"] == 8


@pytest.mark.slow
def test_a_device_needs_the_folder_and_onnxruntime_only(made: ConvertedModel) -> None:
    assert sorted(each.name for each in made.path.iterdir()) == [
        "AudioEncoder.onnx",
        "MelSpectrogram.onnx",
        "TextDecoder.onnx",
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    mel, encoder, decoder = (onnxruntime.InferenceSession(str(made.path / f"{name}.onnx")) for name in PROGRAMS)
    audio = 0.1 * np.sin(np.arange(480_000, dtype=np.float32) / 20)
    [features] = mel.run(None, {"audio": audio})
    [states] = encoder.run(None, {"melspectrogram_features": features})
    assert states.shape == (1, 64, 1, 1500)
    assert [each.shape for each in decoder.get_inputs()][2:4] == [[1, 128, 1, 448]] * 2


@pytest.mark.slow
def test_the_files_name_no_path_of_this_machine(made: ConvertedModel) -> None:
    for name in PROGRAMS:
        content = (made.path / f"{name}.onnx").read_bytes()
        assert str(Path(sys.prefix)).encode() not in content
        assert b".py" not in content
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
        assert model.opset_import[0].version == 18


@pytest.mark.slow
def test_int8_is_smaller_within_its_bounds_and_has_the_same_bytes_again(
    made: ConvertedModel, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    quantised = export_checkpoint(ONNX, tiny_checkpoint, tmp_path, "int8")
    mel = "MelSpectrogram.onnx"
    assert (quantised.path / mel).read_bytes() == (made.path / mel).read_bytes()
    decoder = "TextDecoder.onnx"
    assert (quantised.path / decoder).stat().st_size < 0.5 * (made.path / decoder).stat().st_size
    assert 34 < quantised.details["parity"]["encoder_psnr_db"] < 60


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install 'habla-ml\[onnx\]'"):
        export_checkpoint(ONNX, tmp_path / "unread", tmp_path / "out")
