"""Cuts the audio of a file into clips at pauses, found by Silero's detector, which is part of faster-whisper."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from habla_ml.audio import SAMPLE_RATE, dequantise, pcm_sha256
from habla_ml.transcription.audio_check import WINDOW_S, WINDOW_SAMPLES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MIN_PAUSE_MS: Final = 500
_PADDING_MS: Final = 200
"""Silence kept before and after speech, so that no sound at its edges is lost."""


_SHORT_PAUSE_MS: Final = 160
_CLIP_PADDING_MS: Final = 400
"""The values of faster-whisper's batched pipeline. Silero finds the start of soft speech late: with the 30 ms of WhisperX's
own call of Silero, quiet clips of the demo lost their first word."""


@dataclass(frozen=True)
class SpeechSpan:
    """The samples from `start` to before `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class SpeechClip:
    """A `habla_ml.transcription.engine.Clip` that starts at `start_s` of a file."""

    start_s: float
    pcm: NDArray[np.int16]
    """16 kHz mono."""

    @property
    def duration_s(self) -> float:
        """Duration of the audio."""
        return len(self.pcm) / SAMPLE_RATE

    @property
    def audio(self) -> NDArray[np.float32]:
        """Samples in −1…1."""
        return dequantise(self.pcm)

    @cached_property
    def audio_sha256(self) -> str:
        """sha256 of the PCM."""
        return pcm_sha256(self.pcm)


def cut_at_pauses(pcm: NDArray[np.int16]) -> list[SpeechClip]:
    """Return 16 kHz mono audio of at most 30 s as one clip; cut longer audio at pauses and drop them.

    Speech of more than 30 s without a pause of 0.5 s is cut at its last pause of 0.1 s, or else after 30 s.
    """
    if len(pcm) <= WINDOW_SAMPLES:
        return [SpeechClip(0.0, pcm)]
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        max_speech_duration_s=WINDOW_S, min_silence_duration_ms=_MIN_PAUSE_MS, speech_pad_ms=_PADDING_MS
    )
    return [
        SpeechClip(each["start"] / SAMPLE_RATE, pcm[each["start"] : each["end"]])
        for each in get_speech_timestamps(dequantise(pcm), options, SAMPLE_RATE)
    ]


def find_speech_span(audio: NDArray[np.float32]) -> SpeechSpan | None:
    """Return the part of a clip from the start of its first speech to the end of its last, with the pauses between.

    None where no speech is detected. WhisperX keeps such a part of a clip that fits into one window.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(min_silence_duration_ms=_SHORT_PAUSE_MS, speech_pad_ms=_CLIP_PADDING_MS)
    found = get_speech_timestamps(audio, options, SAMPLE_RATE)
    return SpeechSpan(int(found[0]["start"]), int(found[-1]["end"])) if found else None
