"""The audio of segments: decode, measure and encode the bytes of files, in this process or in tasks of a Ray cluster.

Only bytes of audio and their measurements leave this process. Names, times and machine texts stay in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from habla_ml.audio import Measurements, decode_wav, encode_flac, measure, pcm_sha256
from habla_ml.errors import InputError
from habla_ml.ray_pool import connect, map_in_tasks, split_by_bytes
from habla_ml.settings.models import RaySettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SegmentAudio:
    """What the lake stores of a segment's samples."""

    flac: bytes
    """16 kHz mono 16-bit FLAC."""
    sha256: str
    """sha256 of the samples."""
    measurements: Measurements


ReadFile = bytes | InputError
"""The bytes of a WAV file, or why it cannot be read."""
EncodedFile = SegmentAudio | InputError
"""The audio of a file, or why it cannot be used."""
EncodeFiles = Callable[[Iterable[ReadFile], float], Iterator[EncodedFile]]
"""Files and the longest duration in seconds → one result for each file, in order; a bad file affects no other one."""


def encode_samples(pcm: NDArray[np.int16]) -> SegmentAudio:
    """Measure and encode 16 kHz mono samples, shape [n_samples]; raise `InputError` without a sample."""
    return SegmentAudio(encode_flac(pcm), pcm_sha256(pcm), measure(pcm))


def encode_here(files: Iterable[ReadFile], max_duration_s: float) -> Iterator[EncodedFile]:
    """Encode the files in this process, each when its result is needed."""
    return (_encode_file(each, max_duration_s) for each in files)


def encode_on_ray(
    files: Iterable[ReadFile], max_duration_s: float, *, n_workers: int, settings: RaySettings
) -> Iterator[EncodedFile]:
    """Encode the files in `n_workers` tasks of a Ray cluster, with the errors of `connect` and `map_in_tasks`."""
    connect(settings)
    batches = split_by_bytes(files, lambda file: len(file) if isinstance(file, bytes) else 0)
    encode = partial(encode_batch, max_duration_s=max_duration_s)
    for encoded in map_in_tasks("encode_segments", encode, batches, n_workers, settings):
        yield from encoded


def encode_batch(files: Sequence[ReadFile], max_duration_s: float) -> list[EncodedFile]:
    """Encode one batch of files."""
    return [_encode_file(each, max_duration_s) for each in files]


def _encode_file(file: ReadFile, max_duration_s: float) -> EncodedFile:
    if isinstance(file, InputError):
        return file
    try:
        return encode_samples(decode_wav(file, max_duration_s))
    except InputError as error:
        return error
