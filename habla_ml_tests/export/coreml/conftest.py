"""One conversion of the tiny checkpoint for the whole folder, made by the real process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from habla_ml.export.coreml.process import Conversion, run_conversion


@dataclass(frozen=True)
class Converted:
    folder: Path
    conversion: Conversion
    lines: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"


@pytest.fixture(scope="session")
def converted(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Three packages and what the process said about them; do not change the files."""
    folder = tmp_path_factory.mktemp("coreml") / "converted"
    lines: list[str] = []
    conversion = run_conversion(tiny_checkpoint, folder, 900.0, lines.append)
    return Converted(folder, conversion, tuple(lines))


@pytest.fixture
def models(converted: Converted, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(converted.folder, tmp_path / "models"))
