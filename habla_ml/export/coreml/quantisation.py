"""The weight types of the phone's programs, and the difference from the checkpoint that each may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from habla_ml.export.programs.parity import ParityBounds

_COMPRESSED_FROM_WEIGHTS: Final = 10_000
"""Smaller tensors stay in float16. From this size on, coremltools finds the palette exactly and on one thread, so the
bytes do not depend on the machine."""


@dataclass(frozen=True)
class CoreMLQuantisation:
    """How the weights of encoder and decoder are stored. Arithmetic is float16 in all of them."""

    bounds: ParityBounds
    compress: Callable[[Any], Any] | None
    """Takes and returns a `coremltools.models.MLModel`."""


def _quantise_to_int8(model: Any) -> Any:
    """Store int8 with one scale for each output channel."""
    from coremltools.optimize import coreml

    weights = coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=_COMPRESSED_FROM_WEIGHTS
    )
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=weights))


def _palettise_to_6_bits(model: Any) -> Any:
    """Store 6-bit indices into 64 values for each tensor, found by k-means."""
    from coremltools.optimize import coreml

    weights = coreml.OpPalettizerConfig(mode="kmeans", nbits=6, weight_threshold=_COMPRESSED_FROM_WEIGHTS)
    return coreml.palettize_weights(model, coreml.OptimizationConfig(global_config=weights))


COREML_QUANTISATIONS: Final = {
    "float16": CoreMLQuantisation(ParityBounds(45.0, 0.02), None),
    "int8": CoreMLQuantisation(ParityBounds(40.0, 0.06), _quantise_to_int8),
    "palettised-6bit": CoreMLQuantisation(ParityBounds(34.0, 0.15), _palettise_to_6_bits),
}
"""Bounds lie between what was measured for the type and for the next smaller one; see docs/release_and_roll_back.md."""
