"""The weight types of a GGML file, made by whisper.cpp's own quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from habla_ml.errors import ExportError
from habla_ml.export.whisper_cpp.library import load_whisper_cpp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMAT_VERSION: Final = 2 * 1000
"""`GGML_QNT_VERSION` times `GGML_QNT_VERSION_FACTOR`, which is added to the type of a quantised file."""


@dataclass(frozen=True)
class WeightType:
    """How the matrices of a file are stored."""

    tensor_type: int
    """`enum ggml_type`."""
    file_type: int
    """`enum ggml_ftype`, with the version of the quantisation."""
    block_size: int = 1
    """Weights that share a scale. A row consists of whole blocks."""


FLOAT16: Final = WeightType(tensor_type=1, file_type=1)
WEIGHT_TYPES: Final[Mapping[str, WeightType]] = {
    "float16": FLOAT16,
    "q8_0": WeightType(tensor_type=8, file_type=_FORMAT_VERSION + 7, block_size=32),
    "q5_1": WeightType(tensor_type=7, file_type=_FORMAT_VERSION + 9, block_size=32),
}


def quantise_matrix(name: str, values: NDArray[np.float32], weight_type: WeightType) -> bytes:
    """Return a matrix [rows, columns] as whisper.cpp's program `whisper-quantize` makes it from a float16 file.

    Raises:
        ExportError: A row does not consist of whole blocks. The released builds of whisper.cpp do not check this and
            write a damaged file.
    """
    import numpy as np

    rows, columns = values.shape
    if columns % weight_type.block_size:
        raise ExportError(
            f"{name} has rows of {columns} weights, and whisper.cpp quantises in blocks of {weight_type.block_size}; a "
            "model of this width can be stored in float16 only. Set export.ggml_quantisation to float16."
        )
    source = np.ascontiguousarray(values.astype("<f2").astype(np.float32))
    target = np.empty(source.nbytes, np.uint8)
    size = load_whisper_cpp().ggml_quantize_chunk(
        weight_type.tensor_type, source.ctypes.data, target.ctypes.data, 0, rows, columns, None
    )
    return target[:size].tobytes()
