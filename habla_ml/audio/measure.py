"""Duration, loudness, peak and clipping of a segment's samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE
from habla_ml.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SILENCE_DBFS: Final = -120.0
"""The level of digital silence, and the lower bound of every level."""

_FULL_SCALE: Final = 32_768
_CLIPPING_LEVEL: Final = 32_767


@dataclass(frozen=True)
class Measurements:
    """Measurements of one segment. A full-scale square wave has 0 dBFS."""

    duration_s: float
    loudness_dbfs: float
    """Root mean square of the samples."""
    peak_dbfs: float
    """The largest magnitude."""
    clipped_share: float
    """Share of samples at full scale, 0…1."""


def measure(pcm: NDArray[np.int16]) -> Measurements:
    """Measure 16 kHz mono 16-bit samples, shape [n_samples].

    Raises:
        InputError: There is no sample.
    """
    if not len(pcm):
        raise InputError("holds no samples to measure")
    # Widens a few thousand samples at a time; `dot` starts the threads of BLAS for 20 µs of work.
    mean_square = int(np.einsum("i,i->", pcm, pcm, dtype=np.int64, casting="safe")) / len(pcm)
    lowest, highest = int(pcm.min()), int(pcm.max())
    peak = max(-lowest, highest)
    clipped = 0
    if peak >= _CLIPPING_LEVEL:
        clipped = int(np.count_nonzero(pcm >= _CLIPPING_LEVEL) + np.count_nonzero(pcm <= -_CLIPPING_LEVEL))
    return Measurements(
        duration_s=len(pcm) / SAMPLE_RATE,
        loudness_dbfs=_to_dbfs(mean_square**0.5 / _FULL_SCALE),
        peak_dbfs=_to_dbfs(peak / _FULL_SCALE),
        clipped_share=clipped / len(pcm),
    )


def _to_dbfs(amplitude: float) -> float:
    if amplitude <= 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, round(20 * float(np.log10(amplitude)), 4))
