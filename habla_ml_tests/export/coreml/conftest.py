"""One conversion of the tiny checkpoint by the real child process, shared by all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from habla_ml.export.coreml.process import ConversionResult, run_conversion


@dataclass(frozen=True)
class ConvertedCheckpoint:
    folder: Path
    conversion: ConversionResult
    lines: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"


@pytest.fixture(scope="session")
def converted_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertedCheckpoint:
    """Three packages and the result of the child process; do not change the files."""
    folder = tmp_path_factory.mktemp("coreml") / "converted"
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "2")
        conversion = run_conversion(tiny_checkpoint, folder, 900.0, lines.append)
    return ConvertedCheckpoint(folder, conversion, tuple(lines))


@pytest.fixture
def models(converted_model: ConvertedCheckpoint, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(converted_model.folder, tmp_path / "models"))
