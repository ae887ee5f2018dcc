"""Decoded samples of any file to 16 kHz mono, to FLAC and back.

The lake stores 16-bit FLAC, so a 16 kHz mono 16-bit WAV is restored bit for bit, and `pcm_sha256` identifies the audio
whatever file it was in.
"""

from __future__ import annotations

import hashlib
import io
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
_CANCELLED_SHARE: Final = 0.01
"""Of the power of one channel. A voice in one of eight channels leaves 1/64 in their mean."""
_MAX_AMPLITUDE: Final = 2.0
"""Largest magnitude of a float sample that is clipped to full scale, 6 dB above it."""


def check_format(channels: int, sample_rate_hz: int) -> None:
    """Raise `InputError` where the number of channels or the sample rate is out of range."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"has {channels} channels, expected 1…{MAX_CHANNELS}")
    if not _MIN_SAMPLE_RATE_HZ <= sample_rate_hz <= _MAX_SAMPLE_RATE_HZ:
        raise InputError(f"has a rate of {sample_rate_hz} Hz, expected {_MIN_SAMPLE_RATE_HZ}…{_MAX_SAMPLE_RATE_HZ}")


def check_level(samples: NDArray[np.float32]) -> None:
    """Raise `InputError` if a decoded sample is not finite, or so far beyond −1…1 that clipping it makes a square wave.

    Lossy codecs and mixes exceed full scale slightly. Samples up to ±2 are accepted, and `quantise` clips them.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise InputError("holds samples that are not finite numbers; export it again")
    if peak <= _MAX_AMPLITUDE:
        return
    fault = f"has samples up to ±{peak:.6g}, floats must be within −1…1 (up to ±{_MAX_AMPLITUDE:g} are clipped)"
    if _MAX_AMPLITUDE < peak <= _FULL_SCALE and bool((samples == np.rint(samples)).all()):
        raise InputError(f"{fault}: integers were stored as floats; divide them by {_FULL_SCALE} and export it again")
    raise InputError(f"{fault}; normalise it and export it again")


def mix_channels(mean: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of all channels, or the first channel where the channels cancel each other out.

    A plug that is wired the wrong way records the same voice twice with opposite signs, and their mean is silence.
    """
    return first if np.vdot(mean, mean) < _CANCELLED_SHARE * np.vdot(first, first) else mean


def resample(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Return samples, shape [n_samples], at 16 kHz.

    Raises:
        InputError: There are too few samples.
    """
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
