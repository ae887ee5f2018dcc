"""WAV bytes to samples, samples to FLAC and back.

All samples that leave this module are 16 kHz mono. The lake stores 16-bit FLAC, so a 16 kHz mono 16-bit WAV is
restored bit for bit, and `pcm_sha256` identifies the audio whatever file it was in.

libsndfile decodes a cut-off WAV partially without an error, so the RIFF chunks are checked here first.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000

_FULL_SCALE: Final = 32_768
MAX_CHANNELS: Final = 8
_MIN_SAMPLE_RATE_HZ: Final = 4_000
_MAX_SAMPLE_RATE_HZ: Final = 384_000
# Uncompressed formats and the two telephony laws.
_FORMAT_TAGS: Final = {0x0001: "PCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "µ-law", 0xFFFE: "extensible"}


@dataclass(frozen=True)
class _WavHeader:
    sample_rate_hz: int
    channels: int
    frames: int
    bytes_per_frame: int
    format_tag: int
    data_offset: int

    @property
    def is_lake_format(self) -> bool:
        """Whether the bytes are 16 kHz mono 16-bit integers, as Habla writes them."""
        form = (self.format_tag, self.channels, self.sample_rate_hz, self.bytes_per_frame)
        return form == (1, 1, SAMPLE_RATE, 2)

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate_hz


def decode_wav(data: bytes, max_duration_s: float) -> NDArray[np.int16]:
    """Decode a WAV file to 16 kHz mono 16-bit samples, shape [n_samples].

    Reads 8, 16, 24 and 32-bit integers, floats and the telephony laws at any rate. Channels are averaged, other rates
    are resampled with soxr. Samples of the lake's format are returned as a view of `data`.

    Raises:
        InputError: The file is no WAV, cut off, empty, longer than `max_duration_s`, or has samples that are not finite.
    """
    header = _parse_wav_header(data)
    if header.duration_s > max_duration_s:
        raise InputError(f"lasts {header.duration_s:.1f} s, more than the {max_duration_s:g} s allowed; split it")
    if header.is_lake_format:
        return np.frombuffer(data, "<i2", header.frames, header.data_offset)
    import soundfile

    try:
        frames, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"cannot be decoded as WAV: {error.error_string}") from error
    if len(frames) != header.frames:
        raise InputError(f"is cut off: {len(frames)} of the {header.frames} frames it declares can be decoded")
    samples: NDArray[np.float32] = frames[:, 0] if header.channels == 1 else frames.mean(axis=1)
    return quantise(resample(samples, header.sample_rate_hz))


def check_format(channels: int, sample_rate_hz: int) -> None:
    """Raise `InputError` where the number of channels or the sample rate is out of range."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"has {channels} channels, expected 1…{MAX_CHANNELS}")
    if not _MIN_SAMPLE_RATE_HZ <= sample_rate_hz <= _MAX_SAMPLE_RATE_HZ:
        raise InputError(f"has a rate of {sample_rate_hz} Hz, expected {_MIN_SAMPLE_RATE_HZ}…{_MAX_SAMPLE_RATE_HZ}")


def resample(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Return samples, shape [n_samples], at 16 kHz.

    Raises:
        InputError: There are samples that are not finite, or too few.
    """
    if not np.isfinite(samples).all():
        raise InputError("holds samples that are not finite numbers; export it again")
    if sample_rate_hz == SAMPLE_RATE:
        return samples
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(samples, sample_rate_hz, SAMPLE_RATE)
    if not len(resampled):
        raise InputError(f"holds {len(samples)} frames at {sample_rate_hz} Hz, which give no sample at 16 kHz")
    return resampled


def quantise(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return samples in −1…1 as 16-bit integers; louder samples are clipped."""
    scaled = np.asarray(samples, dtype=np.float32) * np.float32(_FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
    return scaled.astype(np.int16)


def dequantise(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return 16-bit samples as floats in −1…1, the input of a recogniser."""
    return pcm.astype(np.float32) / np.float32(_FULL_SCALE)


def encode_flac(samples: NDArray[np.float32] | NDArray[np.int16]) -> bytes:
    """Return a 16-bit FLAC file of 16 kHz mono samples, shape [n_samples], floats in −1…1 or 16-bit integers.

    Raises:
        InputError: There is no sample.
    """
    import soundfile

    if not len(samples):
        raise InputError("holds no samples to encode")
    out = io.BytesIO()
    soundfile.write(out, _to_pcm16(samples), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def decode_flac(data: bytes) -> NDArray[np.float32]:
    """Return the samples of a FLAC file from `encode_flac`: 16 kHz mono, in −1…1, shape [n_samples].

    Raises:
        InputError: The bytes are no such file.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise InputError(f"{len(data)} bytes cannot be decoded as FLAC: {error.error_string}") from error
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise InputError(f"FLAC at {rate} Hz with shape {samples.shape}; expected {SAMPLE_RATE} Hz mono")
    decoded: NDArray[np.float32] = samples
    return decoded


def pcm_sha256(samples: NDArray[np.float32] | NDArray[np.int16]) -> str:
    """Return the sha256 (hex) of the samples as 16-bit little-endian PCM, the identity of the audio."""
    return hashlib.sha256(np.ascontiguousarray(_to_pcm16(samples), "<i2").data).hexdigest()


def _to_pcm16(samples: NDArray[np.float32] | NDArray[np.int16]) -> NDArray[np.int16]:
    return samples if samples.dtype == np.int16 else quantise(samples)  # type: ignore[return-value, arg-type]


def _parse_wav_header(data: bytes) -> _WavHeader:
    """Parse the RIFF chunks; raise `InputError` where a declared size differs from the size in the file."""
    if not data:
        raise InputError("is empty (0 bytes)")
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InputError(f"is no WAV file: it starts with {data[:12]!r}, not with RIFF…WAVE")
    form: tuple[int, int, int, int] | None = None
    size, data_offset = None, 0
    at = 12
    while at < len(data):
        if len(data) - at == 1 and data[at] == 0:
            break
        if len(data) - at < 8:
            raise InputError(f"is cut off: {len(data) - at} bytes after byte {at} are no complete chunk")
        name, declared = struct.unpack_from("<4sI", data, at)
        present = len(data) - at - 8
        if declared > present or (name == b"data" and declared == 0 < present):
            label = name.decode("ascii", "backslashreplace")
            raise InputError(f"is cut off: its header declares {declared} bytes of {label!r}, the file holds {present}")
        if name == b"fmt " and form is None:
            form = _parse_format_chunk(data[at + 8 : at + 8 + declared])
        elif name == b"data" and size is None:
            size, data_offset = declared, at + 8
        at += 8 + declared + declared % 2
    if form is None or size is None:
        raise InputError(f"is cut off or no WAV file: it has no {'fmt' if form is None else 'data'} chunk")
    tag, channels, rate, block = form
    frames = size // block
    if frames == 0:
        raise InputError("holds no sound (0 frames)")
    return _WavHeader(rate, channels, frames, block, tag, data_offset)


def _parse_format_chunk(chunk: bytes) -> tuple[int, int, int, int]:
    """Return format tag, channels, rate in Hz and bytes per frame of a valid `fmt ` chunk."""
    if len(chunk) < 16:
        raise InputError(f"has a fmt chunk of {len(chunk)} bytes, at least 16 are needed")
    tag, channels, rate, _, block, _ = struct.unpack_from("<HHIIHH", chunk)
    if tag not in _FORMAT_TAGS:
        raise InputError(f"holds the WAV format 0x{tag:04x}; expected {', '.join(_FORMAT_TAGS.values())}")
    check_format(channels, rate)
    if block == 0 or block % channels:
        raise InputError(f"declares {block} bytes a frame for {channels} channels")
    return tag, channels, rate, block
