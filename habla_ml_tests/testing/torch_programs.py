"""Engines of three programs over the networks that are converted, so that a test needs no conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.runtimes.interface import build_interfaces, read_model_shape
from habla_ml.runtimes.program import Program
from habla_ml.transcription.coreml import CoreML
from habla_ml.transcription.onnx import Onnx

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TorchProgram:
    """A network with the names of a program."""

    network: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bound: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = {**self.bound, **inputs}
        found = self.network(*(given[name] for name in self.inputs))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))

    def bind(self, inputs: Mapping[str, Tensor]) -> TorchProgram:
        return replace(self, bound={**self.bound, **inputs})


def load_torch_program(model_folder: Path, name: str) -> Program:
    from habla_ml.export.programs.modules import load_modules

    interface = build_interfaces(read_model_shape(model_folder))[name]
    inputs, outputs = (tuple(each.name for each in side) for side in (interface.inputs, interface.outputs))
    return TorchProgram(load_modules(model_folder)[name], inputs, outputs)


class TorchCoreML(CoreML):
    """The phone's engine in float32."""

    def _load_program(self, model_folder: Path, name: str) -> Program:
        return load_torch_program(model_folder, name)


class TorchOnnx(Onnx):
    """The engine of ONNX without onnxruntime."""

    def _load_program(self, model_folder: Path, name: str) -> Program:
        return load_torch_program(model_folder, name)
