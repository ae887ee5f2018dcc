"""What a segment's samples say about it: duration, loudness, clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE
from habla_ml.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SILENCE_DBFS: Final = -120.0
"""The level of digital silence and the floor of every level: below any sound 16 bits can hold for long."""

_CLIPPED_FROM: Final = 32_767 / 32_768


@dataclass(frozen=True)
class Measurements:
    """Numbers about one segment; levels are relative to full scale, a full-scale square wave being 0 dBFS."""

    duration_s: float
    loudness_dbfs: float
    """Root mean square of the samples."""
    peak_dbfs: float
    """The largest magnitude."""
    clipped_share: float
    """Share of samples at full scale, 0…1."""


def measure(samples: NDArray[np.float32]) -> Measurements:
    """Measure 16 kHz mono samples in −1…1, shape [n_samples].

    Raises:
        InputError: there is no sample.
    """
    if not len(samples):
        raise InputError("holds no samples, nothing can be measured")
    magnitudes = np.abs(samples)
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return Measurements(
        duration_s=len(samples) / SAMPLE_RATE,
        loudness_dbfs=_level(mean_square**0.5),
        peak_dbfs=_level(float(magnitudes.max())),
        clipped_share=int(np.count_nonzero(magnitudes >= _CLIPPED_FROM)) / len(samples),
    )


def _level(amplitude: float) -> float:
    if amplitude <= 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, round(20 * float(np.log10(amplitude)), 4))
