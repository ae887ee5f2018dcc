"""Compares the saved packages with the checkpoint."""

from __future__ import annotations

from pathlib import Path

from habla_ml.export.exporter import Progress
from habla_ml.export.programs.parity import ProgramParity, measure_parity


def verify_coreml(models_folder: Path, checkpoint: Path, progress: Progress) -> ProgramParity:
    """Execute the packages of `models_folder`, which were converted from the prepared folder `checkpoint`.

    Raises:
        ExportError: A package contains an operation that cannot be verified, or overflows.
    """
    from habla_ml.runtimes.mil_interpreter import load_program

    return measure_parity(lambda name: load_program(models_folder / f"{name}.mlpackage"), checkpoint, progress)
