"""The interface of all engines, and the records that they return.

The rest of the project uses a `Transcriber`. A local `Engine` decodes batches in a child process and does not deal with
processes, time limits or unusable audio.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml.transcription.registry import ENGINES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Failure = Literal["audio", "timeout", "crash", "service"]
"""Unusable audio; longer than `clip_timeout_s`; the engine crashed on this clip; a service refused it or was down."""


class Clip(Protocol):
    """Audio of at most 30 s; `habla_ml.corpus.snapshot.Utterance` is one."""

    @property
    def audio_sha256(self) -> str:
        """sha256 of the 16 kHz PCM."""

    @property
    def duration_s(self) -> float:
        """Duration of the audio."""

    @property
    def audio(self) -> NDArray[np.float32]:
        """Samples in −1…1 at 16 kHz, mono, shape [n_samples]."""


@dataclass(frozen=True)
class RecognisedWord:
    """A word with its times, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    """0…1 where a service gives one; services measure it differently."""

    @classmethod
    def inside(
        cls, duration_s: float, text: str, start_s: float, end_s: float, confidence: float | None = None
    ) -> RecognisedWord:
        """Return a word with its times clipped to a clip of this duration."""
        first_s = min(max(0.0, start_s), duration_s)
        return cls(text, first_s, min(max(first_s, end_s), duration_s), confidence)


@dataclass(frozen=True)
class Hypothesis:
    """What a model transcribed in one clip, or why it failed."""

    audio_sha256: str
    text: str
    decode_s: float | None
    """Wall time of this clip; in a batch, its share of the batch. None from the cache, which holds no times."""
    duration_s: float
    failure: Failure | None = None
    """Scored as an empty text."""
    reason: str | None = None
    """The failure in a sentence."""
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    """Bytes of the text over its bytes compressed by zlib, as Whisper computes it; None for an empty text."""
    words: tuple[RecognisedWord, ...] = ()
    """Filled where `word_times` is set and the engine computes them."""
    segments_s: tuple[float, float] | None = None
    """Start of the first and end of the last segment that the model wrote with timestamps, from the start of the clip."""
    fallback_engine: str | None = None
    """The local engine that replaced a service that was down; such a text is no evidence about the service."""

    @classmethod
    def of(
        cls,
        clip: Clip,
        text: str,
        decode_s: float,
        avg_logprob: float | None = None,
        no_speech_prob: float | None = None,
        words: tuple[RecognisedWord, ...] = (),
    ) -> Hypothesis:
        """Return the hypothesis of a decoded clip."""
        ratio = compute_compression_ratio(text)
        return cls(
            clip.audio_sha256, text, decode_s, clip.duration_s, None, None, avg_logprob, no_speech_prob, ratio, words
        )

    @classmethod
    def failed(cls, clip: Clip, failure: Failure, reason: str, decode_s: float = 0.0) -> Hypothesis:
        """Return the hypothesis of a clip that was not decoded."""
        return cls(clip.audio_sha256, "", decode_s, clip.duration_s, failure, reason)


def compute_compression_ratio(text: str) -> float | None:
    """Return `Hypothesis.compression_ratio` of a text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else None


class Engine(Protocol):
    """A local engine inside its child process, registered in `habla_ml.transcription.registry`.

    The parent imports the module too, so heavy packages are imported in the constructor and in methods.
    """

    model_format: ClassVar[str]
    """What the model folder holds: `checkpoint` (Transformers), or the name of an exporter."""

    supported_options: ClassVar[frozenset[str]]
    """The fields of `DecodingOptions` that it applies; any other field must be at its default."""

    max_batch_clips: int
    """Largest number of clips in one call of `transcribe`; set by the constructor."""
    parallel_batches: int
    """Calls of `transcribe` that run at the same time, each in its own thread."""

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        """Load the model. This time does not count as decoding time.

        Args:
            model_folder: A folder in `model_format`.
            options: Options that name this engine.
            device: `cpu`, `cuda` or `auto`.
            cpu_threads: Cores to use; 0 is all of them.

        Raises:
            EvaluationError: The folder, the options or the device cannot be used.
        """

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """Return one hypothesis for each of at most `max_batch_clips` usable clips, in order.

        Raises:
            EvaluationError: The engine cannot decode any clip. Any other exception is attributed to the clips: each
                is then decoded alone, and the one that fails again is recorded as a crash.
        """


def load_engine_class(name: str) -> type[Engine]:
    """Return the class of a registered engine; importing it loads no heavy package."""
    found: type[Engine] = ENGINES[name].load()
    return found


@dataclass(frozen=True)
class Usage:
    """Resources that decoding used so far."""

    audio_s: float = 0.0
    """Duration of the audio that was decoded, without audio from a cache."""
    decode_s: float = 0.0
    """Wall time of `transcribe`, without loading models."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of the decoding process; None for a hosted service and before the first clip."""
    peak_gpu_memory_bytes: int | None = None
    cost_usd: float = 0.0
    """Paid to a service."""

    def __add__(self, more: Usage) -> Usage:
        """Add amounts, and take the larger peaks."""
        return Usage(
            self.audio_s + more.audio_s,
            self.decode_s + more.decode_s,
            _max_known(self.peak_memory_bytes, more.peak_memory_bytes),
            _max_known(self.peak_gpu_memory_bytes, more.peak_gpu_memory_bytes),
            self.cost_usd + more.cost_usd,
        )

    def since(self, before: Usage) -> Usage:
        """Return the amounts used after `before`; peaks are of the whole time."""
        return replace(
            self,
            audio_s=self.audio_s - before.audio_s,
            decode_s=self.decode_s - before.decode_s,
            cost_usd=self.cost_usd - before.cost_usd,
        )


def _max_known(*peaks: int | None) -> int | None:
    return max((each for each in peaks if each is not None), default=None)


class Transcriber(Protocol):
    """An engine or a service with its model and options."""

    @property
    def batch_clips(self) -> int:
        """Clips to pass at once, so that all its processes have work."""

    @property
    def options(self) -> DecodingOptions | HostedOptions:
        """Everything besides model and audio that can change a hypothesis."""

    @property
    def usage(self) -> Usage:
        """Resources used so far."""

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """Return one hypothesis for each clip, in order; unusable audio gives a failure, not an exception.

        Raises:
            EvaluationError: The engine cannot be used: no model, no service, or the spending cap is reached.
        """

    def transcribe_batches(self, batches: Iterable[Sequence[Clip]]) -> Iterator[list[Hypothesis]]:
        """Yield the result of `transcribe` for each batch, in order, with its errors; may read a few batches ahead."""

    def close(self) -> None:
        """End its process and free its memory."""
