"""Checks whether a clip can be decoded, before an engine gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S: Final = 30.0
"""Duration of Whisper's input window."""

WINDOW_SAMPLES: Final = int(WINDOW_S * SAMPLE_RATE)


def find_audio_fault(audio: NDArray[np.float32]) -> str | None:
    """Return why these samples cannot be decoded in one window, or None."""
    if audio.ndim != 1:
        return f"audio has shape {audio.shape}, expected one channel of samples"
    if not len(audio):
        return "audio contains no samples"
    if len(audio) > WINDOW_SAMPLES:
        return f"audio lasts {len(audio) / SAMPLE_RATE:.1f} s, more than the window of {WINDOW_S:.0f} s"
    if not np.isfinite(audio).all():
        return "audio contains samples that are not finite"
    return None
