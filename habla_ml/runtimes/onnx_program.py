"""Runs an ONNX program in onnxruntime, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OnnxProgram:
    """A loaded program; see `habla_ml.runtimes.program.Program`."""

    name: str
    session: Any
    """An `onnxruntime.InferenceSession`."""
    bound: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Program`."""
        import numpy as np
        import torch

        types = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
        given = {**self.bound, **inputs}
        feeds = {each.name: given[each.name].numpy().astype(types[each.type]) for each in self.session.get_inputs()}
        names = [each.name for each in self.session.get_outputs()]
        outputs = dict(zip(names, map(torch.from_numpy, self.session.run(names, feeds)), strict=True))
        for name, value in outputs.items():
            if not bool(torch.isfinite(value).all()):
                raise ExportError(f"{name} of {self.name} is not finite. Do not release this model.")
        return outputs

    def bind(self, inputs: Mapping[str, Tensor]) -> OnnxProgram:
        """Keep the inputs; onnxruntime computes with them again in each call."""
        return replace(self, bound={**self.bound, **inputs})


def load_onnx_program(path: Path, threads: int = 0) -> OnnxProgram:
    """Load a file on the CPU.

    Args:
        path: An `.onnx` file.
        threads: Of one call; 0 is one for each core.

    Raises:
        ExportError: onnxruntime is not installed, or cannot load the file.
    """
    try:
        import onnxruntime
    except ImportError as missing:
        raise ExportError(f"onnxruntime is not installed ({missing}); run: pip install onnxruntime") from missing
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as failed:  # onnxruntime has a class for each status, and no public base class
        raise ExportError(f"onnxruntime cannot load {path}: {failed}; export the model version again") from failed
    return OnnxProgram(path.name, session)
