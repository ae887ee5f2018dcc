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
    bits: int
    """Of a weight."""
    max_mean_bits: float
    """The mean size of a weight that some in float16 may lead to."""
    compress: Callable[[Any, tuple[str, ...]], Any] | None
    """Takes and returns a `coremltools.models.MLModel`; the named weights stay in float16."""


def _quantise_to_int8(model: Any, kept: tuple[str, ...]) -> Any:
    """Store int8 with one scale for each output channel."""
    from coremltools.optimize import coreml

    weights = coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=_COMPRESSED_FROM_WEIGHTS
    )
    config = coreml.OptimizationConfig(global_config=weights, op_name_configs=dict.fromkeys(kept))
    return coreml.linear_quantize_weights(model, config)


def _palettise_to_6_bits(model: Any, kept: tuple[str, ...]) -> Any:
    """Store 6-bit indices into 64 values for each tensor, found by k-means."""
    from coremltools.optimize import coreml

    weights = coreml.OpPalettizerConfig(mode="kmeans", nbits=6, weight_threshold=_COMPRESSED_FROM_WEIGHTS)
    config = coreml.OptimizationConfig(global_config=weights, op_name_configs=dict.fromkeys(kept))
    return coreml.palettize_weights(model, config)


COREML_QUANTISATIONS: Final = {
    "float16": CoreMLQuantisation(ParityBounds(45.0, 0.02), 16, 16, None),
    "int8": CoreMLQuantisation(ParityBounds(40.0, 0.06), 8, 12, _quantise_to_int8),
    "palettised-6bit": CoreMLQuantisation(ParityBounds(34.0, 0.15), 6, 8, _palettise_to_6_bits),
}
"""Bounds lie between what was measured for the type and for the next smaller one; see docs/formats.md."""
