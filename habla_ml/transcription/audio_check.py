"""Checks whether clips can be decoded, before an engine gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.transcription.engine import Clip, Hypothesis

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


def split_usable_clips(clips: Sequence[Clip]) -> tuple[dict[int, Clip], dict[int, Hypothesis]]:
    """Return the usable clips, and a failure for each of the others, both by their index."""
    faults = {at: fault for at, clip in enumerate(clips) if (fault := find_audio_fault(clip.audio)) is not None}
    usable = {at: clip for at, clip in enumerate(clips) if at not in faults}
    return usable, {at: Hypothesis.failed(clips[at], "audio", fault) for at, fault in faults.items()}
