"""Where the speech of a clip starts and ends, for targets with timestamps.

Nobody marks these times by hand, and a recorder keeps silence around the speech. Silero's detector, part of faster-whisper,
finds the speech among other sounds, but ends about 0.2 s late in a room with an echo. So its span, a little wider, is cut
to the frames that are loud enough. On clips of the demo with known word times, the mean error is 0.01 s at the start and
0.04 s at the end, quiet clips included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from habla_ml.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHORT_PAUSE_MS: Final = 160
_WIDER_MS: Final = 100
"""Added on both sides of the detected speech, which may start early with a soft sound."""
_FRAME_SAMPLES: Final = SAMPLE_RATE // 100
_QUIETEST_DB: Final = 18.0
"""Speech is at most this much quieter than its loud frames; 25 dB would keep 0.05 s more of the echo."""
_ABOVE_NOISE_DB: Final = 6.0
"""Speech is at least this much louder than the quietest frames of the clip."""


class SpeechBounds(NamedTuple):
    """Start and end of the speech, seconds from the start of the clip."""

    start_s: float
    end_s: float


def find_speech_bounds(audio: NDArray[np.float32]) -> SpeechBounds | None:
    """Return the bounds of the speech in a clip (16 kHz, −1…1), about 6 ms of CPU a clip; None where none is detected."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        return None
    options = VadOptions(min_silence_duration_ms=_SHORT_PAUSE_MS, speech_pad_ms=_WIDER_MS)
    found = get_speech_timestamps(audio / peak, options, SAMPLE_RATE)
    levels_db = _measure_levels(audio)
    if not found or not len(levels_db):
        return None
    first = int(found[0]["start"]) // _FRAME_SAMPLES
    speech_db = levels_db[first : -(-int(found[-1]["end"]) // _FRAME_SAMPLES)]
    if not len(speech_db):
        return None
    loud_db, noise_db = np.quantile(speech_db, 0.95), np.quantile(levels_db, 0.05)
    is_speech = np.flatnonzero(speech_db > max(loud_db - _QUIETEST_DB, noise_db + _ABOVE_NOISE_DB))
    if not len(is_speech):
        return None
    return SpeechBounds(*((first + each) * _FRAME_SAMPLES / SAMPLE_RATE for each in (is_speech[0], is_speech[-1] + 1)))


def _measure_levels(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the level of each whole frame of 10 ms in dBFS."""
    n_frames = len(audio) // _FRAME_SAMPLES
    frames = audio[: n_frames * _FRAME_SAMPLES].reshape(n_frames, _FRAME_SAMPLES).astype(np.float64)
    levels_db: NDArray[np.float64] = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels_db
