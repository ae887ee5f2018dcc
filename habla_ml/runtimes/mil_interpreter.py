"""Runs a saved Core ML package on any machine, operation by operation.

Core ML needs a Mac. A package, however, is a list of MIL operations (`MIL.proto` of coremltools) and a file of weights,
and Whisper's three programs use about 25 kinds of operation. Executing the saved package reveals a swapped input, a
lost weight or an overflow. Every result that the program declares as float16 is rounded to it; sums inside an
operation are float32. Not covered: the arithmetic of the Neural Engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - this module is imported by processes that execute programs only
from torch import Tensor  # noqa: TID253 - as above
from torch.nn import functional  # noqa: TID253 - as above

from habla_ml.errors import ExportError
from habla_ml.runtimes.mil_constants import DECOMPRESSIONS, Arguments, read_constant


@dataclass(frozen=True)
class MilOperation:
    """One step of a program."""

    kind: str
    """MIL's name of the operation."""
    arguments: dict[str, tuple[str, ...]]
    """Parameter → names of values."""
    outputs: tuple[tuple[str, str], ...]
    """Name and MIL data type of each result."""


@dataclass(frozen=True)
class MilProgram:
    """A saved package with its weights."""

    name: str
    """Of the package, for messages."""
    input_types: dict[str, str]
    """Input → MIL data type."""
    states: frozenset[str]
    """Inputs that the program changes in place."""
    outputs: tuple[str, ...]
    constants: dict[str, Any]
    """Weights as float32 tensors; parameters as Python values."""
    operations: tuple[MilOperation, ...]
    """In order of execution."""
    dead_values: tuple[tuple[str, ...], ...]
    """For each operation, the values that no later operation reads; they are freed after it."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `run_program`."""
        return run_program(self, inputs)

    def bind(self, inputs: Mapping[str, Tensor]) -> MilProgram:
        """See `habla_ml.runtimes.program.Program.bind`; the results are the same, bit by bit."""
        known = {*self.constants, *inputs}
        early: list[MilOperation] = []
        late: list[MilOperation] = []
        for operation in self.operations:
            is_early = all(name in known for names in operation.arguments.values() for name in names)
            (early if is_early else late).append(operation)
            known |= {name for name, _ in operation.outputs} if is_early else set()
        rounded = {name: _round_to_type(value, self.input_types[name]) for name, value in inputs.items()}
        needed = {*self.outputs, *(name for each in late for names in each.arguments.values() for name in names)}
        values = {**self.constants, **rounded}
        kept = frozenset(values) | needed
        _execute(early, _find_dead_values(early, kept), values)
        constants = {name: value for name, value in values.items() if name in needed}
        return replace(
            self,
            input_types={name: dtype for name, dtype in self.input_types.items() if name not in inputs},
            constants=constants,
            operations=tuple(late),
            dead_values=_find_dead_values(late, frozenset(self.outputs) | constants.keys()),
        )


def load_program(package: Path) -> MilProgram:
    """Read an `.mlpackage` of type mlProgram.

    Raises:
        ExportError: The package contains an operation that the interpreter does not know.
    """
    from coremltools.libmilstoragepython import _BlobStorageReader
    from coremltools.models.utils import load_spec
    from coremltools.proto import MIL_pb2

    type_name = MIL_pb2.DataType.Name
    main = load_spec(str(package)).mlProgram.functions["main"]
    block = main.block_specializations[main.opset]
    weights = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    reader = _BlobStorageReader(str(weights)) if weights.exists() else None
    constants: dict[str, Any] = {}
    operations: list[MilOperation] = []
    for step in block.operations:
        if step.type == "const":
            constants[step.outputs[0].name] = read_constant(step.attributes["val"], reader, type_name)
            continue
        if step.type in DECOMPRESSIONS:
            # Programs for iOS 16 have the values as attributes, those for iOS 18 as inputs.
            stored = {**step.attributes, **{key: given.arguments[0].value for key, given in step.inputs.items()}}
            values = {key: read_constant(value, reader, type_name) for key, value in stored.items()}
            constants[step.outputs[0].name] = _round_to_type(
                DECOMPRESSIONS[step.type](values), type_name(step.outputs[0].type.tensorType.dataType)
            )
            continue
        if step.type not in _OPERATIONS:
            raise ExportError(
                f"{package.name} uses the operation {step.type!r}, which the interpreter does not know; "
                "add it to habla_ml.runtimes.mil_interpreter."
            )
        arguments = {key: tuple(a.name for a in given.arguments) for key, given in step.inputs.items()}
        outputs = tuple((out.name, type_name(out.type.tensorType.dataType)) for out in step.outputs)
        operations.append(MilOperation(step.type, arguments, outputs))
    return MilProgram(
        name=package.name,
        input_types={given.name: type_name(_get_tensor_type(given.type).dataType) for given in main.inputs},
        states=frozenset(given.name for given in main.inputs if given.type.WhichOneof("type") == "stateType"),
        outputs=tuple(block.outputs),
        constants=constants,
        operations=tuple(operations),
        dead_values=_find_dead_values(operations, frozenset(block.outputs) | constants.keys()),
    )


def _get_tensor_type(value_type: Any) -> Any:
    is_state = value_type.WhichOneof("type") == "stateType"
    return (value_type.stateType.wrappedType if is_state else value_type).tensorType


def run_program(program: MilProgram, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs as float32 tensors, rounded to their declared types.

    States are inputs too. The tensors of the caller are changed; they begin as zeros.

    Raises:
        ExportError: An input is missing, or a result is not finite.
    """
    missing = program.input_types.keys() - inputs.keys()
    if missing:
        raise ExportError(f"{program.name} lacks the inputs {sorted(missing)}; pass all of them.")
    rounded = {name: _round_to_type(inputs[name], dtype) for name, dtype in program.input_types.items()}
    values: dict[str, Any] = {**program.constants, **rounded, **{name: inputs[name] for name in program.states}}
    _execute(program.operations, program.dead_values, values)
    outputs = {name: values[name] for name in program.outputs}
    for name, value in outputs.items():
        if not bool(torch.isfinite(value).all()):
            raise ExportError(f"{name} of {program.name} is not finite: float16 overflowed. Do not release this model.")
    return outputs


def _execute(
    operations: Sequence[MilOperation], dead_values: Sequence[tuple[str, ...]], values: dict[str, Any]
) -> None:
    """Add the result of each operation to `values`, and drop the dead ones."""
    for operation, dead in zip(operations, dead_values, strict=True):
        arguments = {
            key: [values[name] for name in names] if key == "values" else values[names[0]]
            for key, names in operation.arguments.items()
        }
        results = _OPERATIONS[operation.kind](arguments)
        for (name, dtype), result in zip(operation.outputs, results, strict=True):
            values[name] = _round_to_type(result, dtype)
        for name in dead:
            del values[name]


def _round_to_type(value: Tensor, dtype: str) -> Tensor:
    if dtype == "FLOAT16":
        return value.to(torch.float16).to(torch.float32)
    if dtype in _SMALL_INTEGERS:
        return value.to(_SMALL_INTEGERS[dtype]).to(torch.int64)
    return value.to(_TYPES[dtype])


_TYPES = {"FLOAT32": torch.float32, "INT32": torch.int64, "BOOL": torch.bool}
_SMALL_INTEGERS = {"INT8": torch.int8, "UINT8": torch.uint8, "INT16": torch.int16, "UINT16": torch.uint16}
"""Programs for iOS 17 look up small tables by 16-bit integers. A larger one wraps here, so that it is not missed."""


def _find_dead_values(operations: Sequence[MilOperation], kept: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    seen = set(kept)
    dead_values: list[tuple[str, ...]] = []
    for operation in reversed(operations):
        used = {name for names in operation.arguments.values() for name in names}
        used |= {name for name, _ in operation.outputs}
        dead_values.append(tuple(sorted(used - seen)))
        seen |= used
    return tuple(reversed(dead_values))


def _reshape(a: Arguments) -> tuple[Tensor]:
    shape = [a["x"].shape[axis] if size == 0 else size for axis, size in enumerate(a["shape"])]
    return (a["x"].reshape(shape),)


def _expand_dims(a: Arguments) -> tuple[Tensor]:
    x = a["x"]
    for axis in sorted(a["axes"]):
        x = x.unsqueeze(axis)
    return (x,)


def _slice_by_index(a: Arguments) -> tuple[Tensor]:
    rank = a["x"].dim()
    strides = a.get("stride") or [1] * rank
    masks = [a.get(key) or [False] * rank for key in ("begin_mask", "end_mask", "squeeze_mask")]
    index = tuple(
        begin if is_squeezed else slice(None if from_start else begin, None if to_end else end, stride)
        for begin, end, stride, from_start, to_end, is_squeezed in zip(
            a["begin"], a["end"], strides, *masks, strict=True
        )
    )
    return (a["x"][index],)


def _convolution(a: Arguments) -> tuple[Tensor]:
    x, weight = a["x"], a["weight"]
    if a["pad_type"] not in ("custom", "valid"):
        raise ExportError(f"the interpreter does not know the padding {a['pad_type']!r} of a convolution; add it")
    if a["pad_type"] == "custom":
        x = functional.pad(x, _reverse_axes(a["pad"]))
    convolve = functional.conv1d if weight.dim() == 3 else functional.conv2d
    return (convolve(x, weight, a.get("bias"), a["strides"], 0, a["dilations"], a["groups"]),)


def _pad(a: Arguments) -> tuple[Tensor]:
    if a["mode"] != "reflect":
        raise ExportError(f"the interpreter does not know the padding mode {a['mode']!r}; add it")
    sizes = _reverse_axes(a["pad"])
    while sizes[-2:] == [0, 0]:  # torch reflects only the last axes and takes only their sizes
        sizes = sizes[:-2]
    return (functional.pad(a["x"], sizes, mode="reflect"),)


def _reverse_axes(pad: list[int]) -> list[int]:
    """Return the padding before and after each axis from the last axis to the first, the order of torch."""
    return [size for at in reversed(range(0, len(pad), 2)) for size in pad[at : at + 2]]


def _layer_norm(a: Arguments) -> tuple[Tensor]:
    x, axes = a["x"], tuple(a["axes"])
    centred = x - x.mean(axes, keepdim=True)
    normal = centred * (centred.square().mean(axes, keepdim=True) + float(a["epsilon"])).rsqrt()
    shape = [x.shape[axis] if axis in {n % x.dim() for n in axes} else 1 for axis in range(x.dim())]
    if "gamma" in a:
        normal = normal * a["gamma"].reshape(shape)
    if "beta" in a:
        normal = normal + a["beta"].reshape(shape)
    return (normal,)


def _batch_norm(a: Arguments) -> tuple[Tensor]:
    shape = [1, -1] + [1] * (a["x"].dim() - 2)
    scale = a["gamma"] * (a["variance"] + float(a["epsilon"])).rsqrt()
    return ((a["x"] - a["mean"].reshape(shape)) * scale.reshape(shape) + a["beta"].reshape(shape),)


def _matmul(a: Arguments) -> tuple[Tensor]:
    x = a["x"].transpose(-1, -2) if a.get("transpose_x") else a["x"]
    y = a["y"].transpose(-1, -2) if a.get("transpose_y") else a["y"]
    return (x @ y,)


def _gather(a: Arguments) -> tuple[Tensor]:
    indices = a["indices"]
    axis = a["axis"] % a["x"].dim()
    picked = a["x"].index_select(axis, indices.reshape(-1))
    return (picked.reshape(*a["x"].shape[:axis], *indices.shape, *a["x"].shape[axis + 1 :]),)


def _slice_update(a: Arguments) -> tuple[Tensor]:
    result = a["x"].clone()
    _slice_by_index({**a, "x": result})[0].copy_(a["update"])
    return (result,)


def _write_state(a: Arguments) -> tuple[Tensor, ...]:
    a["input"].copy_(a["data"])
    return ()


_GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}

_OPERATIONS: dict[str, Callable[[Arguments], tuple[Tensor, ...]]] = {
    "add": lambda a: (a["x"] + a["y"],),
    "batch_norm": _batch_norm,
    "cast": lambda a: (a["x"],),
    "clip": lambda a: (a["x"].clamp(float(a["alpha"]), float(a["beta"])),),
    "concat": lambda a: (torch.cat(a["values"], dim=a["axis"]),),
    "conv": _convolution,
    "einsum": lambda a: (torch.einsum(a["equation"], *a["values"]),),
    "expand_dims": _expand_dims,
    "gather": _gather,
    "gelu": lambda a: (functional.gelu(a["x"], approximate=_GELU[a["mode"]]),),
    "greater_equal": lambda a: (torch.as_tensor(a["x"] >= a["y"]),),
    "layer_norm": _layer_norm,
    "linear": lambda a: (functional.linear(a["x"], a["weight"], a.get("bias")),),
    "log": lambda a: (torch.log(a["x"] + float(a["epsilon"])),),
    "matmul": _matmul,
    "maximum": lambda a: (torch.maximum(a["x"], a["y"]),),
    "mul": lambda a: (a["x"] * a["y"],),
    "pad": _pad,
    "read_state": lambda a: (a["input"].clone(),),
    "reduce_max": lambda a: (a["x"].amax(a["axes"], keepdim=bool(a["keep_dims"])),),
    "reduce_mean": lambda a: (a["x"].mean(a["axes"], keepdim=bool(a["keep_dims"])),),
    "reshape": _reshape,
    "select": lambda a: (torch.where(a["cond"], a["a"], a["b"]),),
    "slice_by_index": _slice_by_index,
    "slice_update": _slice_update,
    "softmax": lambda a: (a["x"].softmax(a["axis"]),),
    "split": lambda a: a["x"].split(a["split_sizes"], dim=a["axis"]),
    "sub": lambda a: (a["x"] - a["y"],),
    "transpose": lambda a: (a["x"].permute(a["perm"]),),
    "write_state": _write_state,
}
