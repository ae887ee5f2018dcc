"""The one protocol of all engines, and what they return.

`Transcriber` is what the rest of the house works with; `open_transcriber` gives one. Behind it, a local engine is an
`Engine`: a class that decodes one batch after the other in a child process and knows nothing of processes, time
limits and unusable audio.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

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
class RecognisedWord:
    """A word with its place in the clip."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    """0…1 where a service gives one; it is each service's own measure."""


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
    words: tuple[RecognisedWord, ...] = ()
    """Where `word_times` was asked for and the engine knows them."""
    heard_by: str | None = None
    """The local engine that stood in for a service that was down; such a text says nothing about the service."""


def compute_compression_ratio(text: str) -> float | None:
    """See `Hypothesis.compression_ratio`."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else None


class Engine(Protocol):
    """A local engine inside its child process; `habla_ml.transcription.registry` names the class of each.

    Its module is imported by the parent too, so heavy packages are imported in the constructor and below it.
    """

    supported_options: ClassVar[frozenset[str]]
    """The fields of `DecodingOptions` that it heeds; any other that is not at its default is refused."""

    max_batch_clips: int
    """Clips of one call of `transcribe`; known after the constructor."""
    parallel_batches: int
    """Calls of `transcribe` that run at the same time, each in a thread of its own."""

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        """Load the model, for this is not counted as a clip's time.

        Args:
            model_folder: In the engine's own format.
            options: `options.engine` is this one.
            device: `cpu`, `cuda` or `auto`.
            cpu_threads: Cores to use; 0 is all of them.

        Raises:
            EvaluationError: The folder, the options or the device cannot work.
        """
        ...

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """One hypothesis for each of at most `max_batch_clips` usable clips, in order.

        Raises:
            EvaluationError: No clip could be decoded, this or another. Any other exception blames the clips: each
                is then tried alone, and the guilty one is recorded as a crash.
        """
        ...


@dataclass(frozen=True)
class Usage:
    """What decoding took so far."""

    audio_s: float = 0.0
    """Audio that was decoded, not taken from a cache."""
    decode_s: float = 0.0
    """Wall time of `transcribe`, the loading of models left out."""
    peak_memory_bytes: int | None = None
    """Largest resident memory of the process that decodes; None where it runs elsewhere, or decoded nothing yet."""
    peak_gpu_memory_bytes: int | None = None
    cost_usd: float = 0.0
    """Paid to a service."""

    def __add__(self, more: Usage) -> Usage:
        """Both together: amounts add up, peaks are the larger."""
        return Usage(
            self.audio_s + more.audio_s,
            self.decode_s + more.decode_s,
            _max_known(self.peak_memory_bytes, more.peak_memory_bytes),
            _max_known(self.peak_gpu_memory_bytes, more.peak_gpu_memory_bytes),
            self.cost_usd + more.cost_usd,
        )

    def since(self, before: Usage) -> Usage:
        """What came after `before`; peaks are of the whole time."""
        return replace(
            self,
            audio_s=self.audio_s - before.audio_s,
            decode_s=self.decode_s - before.decode_s,
            cost_usd=self.cost_usd - before.cost_usd,
        )


def _max_known(one: int | None, other: int | None) -> int | None:
    known = [each for each in (one, other) if each is not None]
    return max(known) if known else None


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
