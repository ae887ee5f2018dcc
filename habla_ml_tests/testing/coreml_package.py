"""Changes to a saved Core ML package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coremltools.proto import Model_pb2


def edit_specification(package: Path, change: Callable[[Any], object]) -> None:
    """Apply `change` to the specification in `package`."""
    path = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    specification = Model_pb2.Model()
    specification.ParseFromString(path.read_bytes())
    change(specification)
    path.write_bytes(specification.SerializeToString())


def save_program(program: Any, package: Path, target: str) -> Path:
    """Save a program of `coremltools.converters.mil.Builder`."""
    import coremltools as ct

    ct.convert(program, minimum_deployment_target=ct.target[target], skip_model_load=True).save(str(package))
    return package
