"""The decoding process: bounded decoding with PyAV, one request at a time.

Truncated files of most formats decode partially without an error, so the decoded duration is compared with the
declared one. A file without a declared duration (a browser's live WebM, bare ADTS) is not checked.
"""

from __future__ import annotations

import io
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from habla_ml.audio.audio_decoder import DECODED, REFUSED, detect_container, read_message, write_message
from habla_ml.audio.completeness import check_caf_chunks, check_mp4_boxes, check_ogg_pages
from habla_ml.audio.decode import MAX_CHANNELS, SAMPLE_RATE, check_format, check_level, mix_channels, quantise, resample
from habla_ml.errors import InputError
from habla_ml.process import die_with_parent

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FILE_BYTES: Final = 256 << 20
"""Largest file."""

_ADDRESS_SPACE_BYTES: Final = 1 << 30
_CPU_LIMIT_S: Final = 20
# Encoders pad the start and the last frame; the longest padding in use is 2,112 samples of AAC at 22 kHz.
_PADDING_S: Final = 0.15
_EXACT_CONTAINERS: Final = frozenset({"aiff", "flac"})
"""Containers that declare their number of samples without padding."""


def serve(parent_pid: int) -> None:
    """Serve requests from standard input until it ends, within limits that are set before the first one."""
    die_with_parent(parent_pid)
    import av

    av.logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    while (request := read_message(sys.stdin.buffer, MAX_FILE_BYTES)) is not None:
        _extend_cpu_limit()
        max_duration_s, data = request
        try:
            pcm = decode_container(data, max_duration_s)
            write_message(sys.stdout.buffer, DECODED, pcm.astype("<i2", copy=False).tobytes())
        except InputError as error:
            write_message(sys.stdout.buffer, REFUSED, str(error).encode())
        except MemoryError:
            write_message(sys.stdout.buffer, REFUSED, b"needs too much memory to decode; convert it to WAV")


def decode_container(data: bytes, max_duration_s: float) -> NDArray[np.int16]:
    """Decode a file of a known container to 16 kHz mono 16-bit samples, shape [n_samples].

    Raises:
        InputError: The file is damaged, cut off, empty, or longer than `max_duration_s`.
    """
    import av

    container = detect_container(data)
    try:
        with av.open(io.BytesIO(data), format=container, metadata_errors="ignore") as opened:
            if not opened.streams.audio:
                raise InputError("holds no audio stream")
            rate = _check_sample_rate(opened.streams.audio[0])
            declared_s = _read_declared_duration(opened, container, data)
            if declared_s is not None and declared_s > max_duration_s + _PADDING_S:
                raise InputError(f"lasts {declared_s:.1f} s, more than the {max_duration_s:g} s allowed; split it")
            samples = _decode_stream(opened, container, rate, declared_s, max_duration_s)
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"is damaged or cut off: {container} cannot be decoded: {error}") from error
    decoded_s = len(samples) / rate
    padding_s = 0.5 / rate if container in _EXACT_CONTAINERS else _PADDING_S
    if declared_s is not None and decoded_s < declared_s - padding_s:
        raise InputError(f"is cut off: {decoded_s:.2f} of the {declared_s:.2f} s it declares can be decoded")
    if not len(samples):
        raise InputError("holds no sound (0 frames)")
    return quantise(resample(samples, rate)[: round(max_duration_s * SAMPLE_RATE)])


def _check_sample_rate(stream: Any) -> int:
    rate = int(stream.codec_context.sample_rate or 0)
    check_format(stream.codec_context.channels, rate)
    return rate


def _decode_stream(
    opened: Any, container: str, rate: int, declared_s: float | None, max_duration_s: float
) -> NDArray[np.float32]:
    """Return the samples of the first audio stream at its own rate, channels averaged."""
    from av import AudioResampler, InvalidDataError

    most = round((max_duration_s + _PADDING_S) * rate)
    parts: list[NDArray[np.float32]] = []
    first_channel: list[NDArray[np.float32]] = []
    count = 0
    planar: AudioResampler | None = None
    try:
        for frame in _decode_packets(opened, container):
            if frame.sample_rate != rate or len(frame.layout.channels) > MAX_CHANNELS:
                raise InputError(f"changes from {rate} Hz to {frame.sample_rate} Hz; export it again")
            planar = planar or AudioResampler(format="fltp", layout=frame.layout, rate=rate)
            for each in planar.resample(frame):
                channels = each.to_ndarray()
                check_level(channels)
                parts.append(channels.mean(axis=0, dtype=np.float32))
                if len(channels) > 1:
                    first_channel.append(channels[0].copy())  # a view would keep the other channels
                count += len(parts[-1])
            if count > most:
                raise InputError(f"lasts longer than the {max_duration_s:g} s allowed; split it")
    except InvalidDataError:
        # Whatever follows the sound of an MP3, such as lyrics, looks like a damaged packet.
        if container != "mp3" or declared_s is None or count < (declared_s - _PADDING_S) * rate:
            raise
    mean = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    return mix_channels(mean, np.concatenate(first_channel)) if first_channel else mean


def _decode_packets(opened: Any, container: str) -> Iterator[Any]:
    """Yield the frames of the first audio stream; raise `InputError` if a packet is damaged or missing at the end."""
    stream, packets = opened.streams.audio[0], 0
    for packet in opened.demux(stream):
        if packet.is_corrupt:
            raise InputError("is damaged or cut off: a packet of sound is not complete")
        packets += packet.size > 0
        yield from packet.decode()
    # MP4 lists its packets; other containers list none, or samples.
    if container == "mp4" and packets < stream.frames:
        raise InputError(f"is cut off: {packets} of the {stream.frames} packets it declares are in the file")


def _read_declared_duration(opened: Any, container: str, data: bytes) -> float | None:
    """Return the duration in the file's header; None where FFmpeg only estimates it from size and rate."""
    if container == "ogg":
        check_ogg_pages(data)
    if container == "caf":
        check_caf_chunks(data)
    if container == "mp4":
        check_mp4_boxes(data)
    if container == "aac" or (container == "mp3" and not any(tag in data[:65_536] for tag in (b"Xing", b"Info"))):
        return None
    stream = opened.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if opened.duration is None else opened.duration / 1e6


def _extend_cpu_limit() -> None:
    """Set the limit of the process to its present processor time plus `_CPU_LIMIT_S`."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + _CPU_LIMIT_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
