"""Compares the saved packages with the checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.export.exporter import Progress
from habla_ml.export.programs.parity import ProgramParity, measure_parity

if TYPE_CHECKING:
    from habla_ml.export.programs.parity import Program


def verify_coreml(models_folder: Path, checkpoint: Path, progress: Progress) -> ProgramParity:
    """Execute the packages of `models_folder`, which were converted from the prepared folder `checkpoint`.

    Raises:
        ExportError: A package contains an operation that cannot be verified, or overflows.
    """
    from habla_ml.export.coreml.interpreter import load_program, run_program

    def load(name: str) -> Program:
        return partial(run_program, load_program(models_folder / f"{name}.mlpackage"))

    return measure_parity(load, checkpoint, progress)
