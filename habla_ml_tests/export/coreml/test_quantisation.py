"""Smaller weights are executed like all others, are refused where they differ too much, and have reproducible bytes."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import COREML
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.verify import verify_coreml
from habla_ml.export.programs.parity import find_parity_problems
from habla_ml.settings.models import ExportSettings
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.export_checkpoint import export_checkpoint, ignore_progress

pytestmark = pytest.mark.slow

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def compress_program(models: Path, name: str, bits: int | None) -> Path:
    """Replace one program by the same one with int8 weights, or with a palette of this many bits."""
    from coremltools.models import MLModel
    from coremltools.optimize import coreml

    package = models / f"{name}.mlpackage"
    model = MLModel(str(package), skip_model_load=True)
    if bits is None:
        compressed = COREML_QUANTISATIONS["int8"].compress(model, ())
    else:
        weights = coreml.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=10_000)
        compressed = coreml.palettize_weights(model, coreml.OptimizationConfig(global_config=weights))
    shutil.rmtree(package)
    compressed.save(str(package))
    return package


def test_the_interpreter_executes_int8_weights(models: Path) -> None:
    for name in ("AudioEncoder", "TextDecoder"):
        compress_program(models, name, None)
    parity = verify_coreml(models, models / "checkpoint", ignore_progress)
    assert find_parity_problems(parity, COREML_QUANTISATIONS["int8"].bounds) == []
    assert parity.encoder_psnr_db < 60, "float16 is at 70 dB"


def test_a_palette_of_4_bits_is_refused(models: Path) -> None:
    for name in ("AudioEncoder", "TextDecoder"):
        compress_program(models, name, 4)
    problems = find_parity_problems(
        verify_coreml(models, models / "checkpoint", ignore_progress), COREML_QUANTISATIONS["palettised-6bit"].bounds
    )
    assert [problem.split()[0] for problem in problems] == ["AudioEncoder", "TextDecoder"]


def test_a_palettised_archive_is_small_and_independent_of_the_number_of_threads(
    converted_model: ConvertedCheckpoint,
    models: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = export_checkpoint(COREML, tiny_checkpoint, tmp_path / "one", "palettised-6bit")
    with zipfile.ZipFile(made.path) as archive:
        for name in ("AudioEncoder", "TextDecoder"):
            before = (models / f"{name}.mlpackage" / WEIGHTS).stat().st_size
            here = (compress_program(models, name, 6) / WEIGHTS).read_bytes()  # with all threads of this process
            assert archive.read(f"{name}.mlpackage/{WEIGHTS}") == here
            assert len(here) < 0.8 * before
        assert b'"quantisation": "palettised-6bit"' in archive.read("manifest.json")
    assert made.details["parity"]["encoder_psnr_db"] < converted_model.conversion.parity.encoder_psnr_db


def test_the_settings_choose_among_the_quantisations() -> None:
    for each in COREML.quantisations:
        settings = ExportSettings.model_validate({"coreml_quantisation": each})
        assert COREML.build_options(settings).quantisation == each
    with pytest.raises(ExportError, match="choose one of float16, int8, palettised-6bit"):
        COREML.build_options(ExportSettings(), "palettised-4bit")
