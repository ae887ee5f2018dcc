"""The one protocol of all engines, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from habla_ml.transcription.options import DecodingOptions, HostedOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Failure = Literal["audio", "timeout", "crash", "service"]
"""Unusable audio; longer than `clip_timeout_s`; the engine died of this clip; a service that refused or was down."""


class Clip(Protocol):
    """What an engine needs to know of a clip; `habla_ml.corpus.snapshot.Utterance` is one."""

    @property
    def audio_sha256(self) -> str:
        """sha256 of the 16 kHz PCM."""
        ...

    @property
    def duration_s(self) -> float:
        """Length of the sound."""
        ...

    @property
    def audio(self) -> NDArray[np.float32]:
        """Samples in −1…1 at 16 kHz, mono, shape [n_samples]."""
        ...


@dataclass(frozen=True)
class HeardWord:
    """A word with its place in the clip."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Hypothesis:
    """What a model heard in one clip, or why it heard nothing."""

    audio_sha256: str
    text: str
    decode_s: float
    """Wall time of this clip; in a batch, its share of the batch."""
    duration_s: float
    failure: Failure | None = None
    """Scored as an empty text."""
    reason: str | None = None
    """The failure in a sentence."""
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    """Bytes of the text over its bytes compressed by zlib, as Whisper counts it; None for an empty text."""
    words: tuple[HeardWord, ...] = ()
    """Where `word_times` was asked for and the engine knows them."""


@dataclass(frozen=True)
class Usage:
    """What decoding took so far."""

    audio_s: float = 0.0
    """Audio that was decoded, not taken from a cache."""
    decode_s: float = 0.0
    """Wall time, models loaded."""
    peak_memory_bytes: int | None = None
    """Largest resident memory of the process that decodes; None where it runs elsewhere."""
    peak_gpu_memory_bytes: int | None = None
    cost_usd: float = 0.0
    """Paid to a service."""


class Transcriber(Protocol):
    """An engine with its model and options."""

    @property
    def options(self) -> DecodingOptions | HostedOptions:
        """What the hypotheses depend on."""
        ...

    @property
    def usage(self) -> Usage:
        """What was used up to now."""
        ...

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """One hypothesis for each clip, in order; unusable audio gives a failure, never an exception.

        Raises:
            EvaluationError: The engine itself cannot work: no model, no service, a spending cap reached.
        """
        ...

    def close(self) -> None:
        """End its process, free its memory."""
        ...
