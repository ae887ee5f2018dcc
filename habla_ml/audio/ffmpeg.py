"""What the decoding process does: bounded decoding with PyAV, one request after the other.

Truncated Ogg, MP3 and WebM decode short without an error, so what was decoded is compared with what the
file declares. A file that declares nothing (a browser's live WebM, bare ADTS) is taken as it decodes.
"""

from __future__ import annotations

import io
import resource
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from habla_ml.audio.audio_decoder import DECODED, REFUSED, detect_container, read_message, write_message
from habla_ml.audio.decode import SAMPLE_RATE, quantise
from habla_ml.errors import InputError
from habla_ml.process import die_with_parent

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FILE_BYTES: Final = 256 << 20
"""Size of one file."""

_ADDRESS_SPACE_BYTES: Final = 1 << 30
_CPU_LIMIT_S: Final = 20
_MAX_CHANNELS: Final = 8
_MIN_SAMPLE_RATE_HZ: Final = 4_000
_MAX_SAMPLE_RATE_HZ: Final = 384_000
# Encoders pad the start and the last frame; the longest padding in use is 2,112 samples of AAC at 22 kHz.
_PADDING_S: Final = 0.15


def serve(parent_pid: int) -> None:
    """Answer requests from standard input until it ends; limits are set before anything foreign is read."""
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
            write_message(
                sys.stdout.buffer, REFUSED, b"needs more memory to decode than it may use; convert it to WAV"
            )


def decode_container(data: bytes, max_duration_s: float) -> NDArray[np.int16]:
    """Decode a file of a known container to 16 kHz mono 16-bit samples, shape [n_samples].

    Raises:
        InputError: what is wrong in one line.
    """
    import av
    import soxr

    container = detect_container(data)
    try:
        with av.open(io.BytesIO(data), format=container, metadata_errors="ignore") as opened:
            if not opened.streams.audio:
                raise InputError("holds no audio stream")
            rate = _check_sample_rate(opened.streams.audio[0])
            declared_s = _read_declared_duration(opened, container, data)
            if declared_s is not None and declared_s > max_duration_s + _PADDING_S:
                raise InputError(f"lasts {declared_s:.1f} s, more than the {max_duration_s:g} s allowed; split it")
            samples = _decode_stream(opened, rate, max_duration_s)
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"is damaged or cut off: {container} cannot be decoded: {error}") from error
    decoded_s = len(samples) / rate
    if declared_s is not None and decoded_s < declared_s - _PADDING_S:
        raise InputError(f"is cut off: {decoded_s:.2f} of the {declared_s:.2f} s it declares can be decoded")
    if not len(samples):
        raise InputError("holds no sound (0 frames)")
    if not np.isfinite(samples).all():
        raise InputError("holds samples that are not finite numbers; export it again")
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return quantise(samples[: round(max_duration_s * SAMPLE_RATE)])


def _check_sample_rate(stream: Any) -> int:
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if not rate or not _MIN_SAMPLE_RATE_HZ <= rate <= _MAX_SAMPLE_RATE_HZ:
        raise InputError(f"has a rate of {rate} Hz, expected {_MIN_SAMPLE_RATE_HZ}…{_MAX_SAMPLE_RATE_HZ}")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise InputError(f"has {channels} channels, expected 1…{_MAX_CHANNELS}")
    return int(rate)


def _decode_stream(opened: Any, rate: int, max_duration_s: float) -> NDArray[np.float32]:
    """Samples of the first audio stream at its own rate, channels averaged."""
    from av import AudioResampler

    most = round((max_duration_s + _PADDING_S) * rate)
    parts: list[NDArray[np.float32]] = []
    count = 0
    planar: AudioResampler | None = None
    for frame in opened.decode(audio=0):
        if frame.sample_rate != rate or len(frame.layout.channels) > _MAX_CHANNELS:
            raise InputError(f"changes to {frame.sample_rate} Hz on the way, after {rate} Hz; export it again")
        planar = planar or AudioResampler(format="fltp", layout=frame.layout, rate=rate)
        for each in planar.resample(frame):
            parts.append(each.to_ndarray().mean(axis=0, dtype=np.float32))
            count += len(parts[-1])
        if count > most:
            raise InputError(f"lasts longer than the {max_duration_s:g} s allowed, whatever it declares; split it")
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _read_declared_duration(opened: Any, container: str, data: bytes) -> float | None:
    """The duration in the file's own header; None where FFmpeg would only guess it from size and rate."""
    if container == "ogg":
        _check_last_page(data)
    if container == "aac" or (container == "mp3" and not any(tag in data[:65_536] for tag in (b"Xing", b"Info"))):
        return None
    stream = opened.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if opened.duration is None else opened.duration / 1e6


def _check_last_page(data: bytes) -> None:
    """An Ogg's duration is its last page's, so a cut-off one agrees with itself: look for the end-of-stream mark.

    Page layout: RFC 3533, section 6; flag 4 of byte 5 marks a stream's last page.
    """
    at = data.rfind(b"OggS")
    header = data[at : at + 27]
    table = data[at + 27 : at + 27 + header[26]] if len(header) == 27 else b""
    if len(header) < 27 or at + 27 + len(table) + sum(table) > len(data) or not header[5] & 4:
        raise InputError("is cut off: its last Ogg page does not end the stream")


def _extend_cpu_limit() -> None:
    """Let this request use `_CPU_LIMIT_S` beyond what the process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + _CPU_LIMIT_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
