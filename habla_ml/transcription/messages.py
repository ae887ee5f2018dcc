"""Messages between the parent and the decoding process.

Each message is a frame of `habla_ml.audio.audio_decoder`: the number of the request and a body. The first request is a
`StartRequest`. Every later request is a batch of clips: one line of JSON, then the samples of all clips as little-endian
32-bit floats. Every answer is an `EngineAnswer`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.options import DecodingOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_MESSAGE_BYTES: Final = 1 << 31
"""Largest size of one message."""

START_REQUEST: Final = 0.0
"""The number of the first request."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StartRequest(_Message):
    """Engine, model and device to load."""

    model_folder: Path
    options: DecodingOptions
    device: str
    cpu_threads: int


class EngineAnswer(_Message):
    """The result of a request."""

    kind: Literal["ready", "decoded", "crashed", "refused"]
    """Loaded; decoded; failed on these clips; the engine cannot be used at all."""
    max_batch_clips: int = 1
    parallel_batches: int = 1
    hypotheses: tuple[Hypothesis, ...] = ()
    reason: str = ""
    peak_memory_bytes: int = 0
    peak_gpu_memory_bytes: int | None = None


@dataclass(frozen=True)
class ReceivedClip:
    """A clip in the decoding process; see `habla_ml.transcription.engine.Clip`."""

    audio_sha256: str
    duration_s: float
    audio: NDArray[np.float32]


def pack_clips(clips: Sequence[Clip]) -> bytes:
    """Return the body of a request."""
    head = json.dumps([[each.audio_sha256, each.duration_s, len(each.audio)] for each in clips]).encode()
    return b"".join((head, b"\n", *(np.ascontiguousarray(each.audio, "<f4").data for each in clips)))


def unpack_clips(body: bytes) -> list[ReceivedClip]:
    """Return the clips of a request."""
    at = body.index(b"\n") + 1
    clips = []
    for audio_sha256, duration_s, n_samples in json.loads(body[:at]):
        clips.append(ReceivedClip(audio_sha256, duration_s, np.frombuffer(body, "<f4", n_samples, at)))
        at += 4 * n_samples
    return clips
