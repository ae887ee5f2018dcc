"""Reads the constants of a saved Core ML package, and decompresses its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # noqa: TID253 - this module is imported by processes that execute programs only
from torch import Tensor  # noqa: TID253 - as above

from habla_ml.errors import ExportError

Arguments = dict[str, Any]

_BLOB_READERS = {
    "FLOAT16": "read_fp16_data",
    "FLOAT32": "read_float_data",
    "INT8": "read_int8_data",
    "UINT8": "read_uint8_data",
    "UINT6": "read_uint6_data",
    "UINT4": "read_uint4_data",
}
"""MIL data type → method of the reader of the file of weights."""
_BYTES_TYPES = {"FLOAT16": "<f2", "INT8": "i1", "UINT8": "u1", "INT16": "<i2", "UINT16": "<u2", "UINT32": "<u4"}
"""MIL data type → numpy's, for small constants that are stored as bytes."""


def read_constant(value: Any, reader: Any, type_name: Callable[[int], str]) -> Any:
    """Return a value of `MIL.proto`: a tensor where it is a weight or a float, else a Python value.

    Args:
        value: From the package's specification.
        reader: Reads the file of weights; None where the package has none.
        type_name: Names a data type of MIL.

    Raises:
        ExportError: The data type is unknown.
    """
    tensor_type = value.type.tensorType
    dtype = type_name(tensor_type.dataType)
    shape = tuple(int(dimension.constant.size) for dimension in tensor_type.dimensions)
    if value.WhichOneof("value") == "blobFileValue":
        if dtype not in _BLOB_READERS:
            raise ExportError(f"the interpreter cannot read weights of type {dtype}; convert in another quantisation")
        array = np.asarray(getattr(reader, _BLOB_READERS[dtype])(value.blobFileValue.offset))
        if dtype == "FLOAT16":
            array = array.view(np.float16)
        return torch.from_numpy(array.astype(np.float32) if dtype.startswith("FLOAT") else array).reshape(shape)
    tensor = value.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    if kind == "bytes" and dtype not in _BYTES_TYPES:
        raise ExportError(f"the interpreter cannot read constants of type {dtype}; add it")
    values = (
        np.frombuffer(tensor.bytes.values, _BYTES_TYPES[dtype]) if kind == "bytes" else getattr(tensor, kind).values
    )
    numbers = [each.item() if isinstance(each, np.generic) else each for each in values]
    if dtype.startswith("FLOAT"):
        return torch.tensor(numbers, dtype=torch.float32).reshape(shape)
    return numbers if shape else numbers[0]


def _dequantize(a: Arguments) -> Tensor:
    """Return scale · (quantized_data − zero_point), with a scale and a zero point for each index of `axis`."""
    data = a["quantized_data"].to(torch.float32)
    shape = [-1 if axis == a["axis"] % data.dim() else 1 for axis in range(data.dim())]
    scale, zero_point = (torch.as_tensor(a[key], dtype=torch.float32) for key in ("scale", "zero_point"))
    return (data - zero_point.reshape(shape if zero_point.dim() else ())) * scale.reshape(shape if scale.dim() else ())


def _dequantize_blocks(a: Arguments) -> Tensor:
    """Return scale · data. Along each axis, as many neighbours share a scale as there are fewer scales."""
    if "offset" in a:
        raise ExportError("the interpreter does not know an offset of blocks; add it")
    return a["data"].to(torch.float32) * _repeat_blocks(a["scale"], a["data"].shape)


def _repeat_blocks(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    for axis, size in enumerate(shape):
        if values.shape[axis] != 1:
            values = values.repeat_interleave(size // values.shape[axis], axis)
    return values


def _look_up(a: Arguments) -> Tensor:
    """Return the palette's value of each index."""
    return _look_up_packed(a) if "shape" in a else _look_up_groups(a)


def _look_up_groups(a: Arguments) -> Tensor:
    """Look up in the palettes [group of axis 0, group of axis 1, …, value, 1] of iOS 18, one for each group."""
    *groups, n_values, vector_size = a["lut"].shape
    if vector_size != 1:
        raise ExportError("the interpreter does not know palettes of vectors; add them")
    group = torch.arange(math.prod(groups)).reshape(groups)
    at = _repeat_blocks(group, a["indices"].shape) * n_values + a["indices"]
    return a["lut"].flatten()[at]


def _look_up_packed(a: Arguments) -> Tensor:
    """Look up in the one palette of iOS 16; the bits of the indices are packed from the lowest on."""
    n_bits, n_values = a["lut"].numel().bit_length() - 1, math.prod(a["shape"])
    packed = np.asarray(a["indices"], dtype=np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[: n_bits * n_values].reshape(-1, n_bits)
    indices = np.packbits(bits, axis=1, bitorder="little")[:, 0]
    return a["lut"][torch.from_numpy(indices).long()].reshape(tuple(a["shape"]))


DECOMPRESSIONS: dict[str, Callable[[Arguments], Tensor]] = {
    "constexpr_affine_dequantize": _dequantize,
    "constexpr_blockwise_shift_scale": _dequantize_blocks,
    "constexpr_lut_to_dense": _look_up,
}
"""Operations on constants only; computed once, when the program is loaded."""
