"""Simulated classroom acoustics: reverberation, background noise and level at the microphone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from habla_ml.audio.background_sounds import scale_to_loudness, synthesise_room_noise
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ, Samples


@dataclass(frozen=True)
class RoomAcoustics:
    """Acoustic properties of a room.

    Attributes:
        noise_dbfs: Level of the steady background (RMS), relative to full scale.
        reverberation_s: RT60, the time in which an echo falls by 60 dB.
        direct_to_reverberant_db: Energy ratio of direct sound to all echoes.
    """

    noise_dbfs: float
    reverberation_s: float
    direct_to_reverberant_db: float


@dataclass(frozen=True)
class SimulatedRecording:
    """A simulated microphone signal.

    Attributes:
        pcm: 16-bit samples at 16 kHz.
        speech_start_s: Start of the speech in seconds.
    """

    pcm: NDArray[np.int16]
    speech_start_s: float


def simulate_recording(
    speech: Samples, loudness_dbfs: float, room: RoomAcoustics, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return 16-bit PCM of speech at a loudness in a room, with short margins.

    Args:
        speech: Dry speech at 16 kHz.
        loudness_dbfs: RMS level of the speech at the microphone.
        room: Noise and echo.
        rng: Random generator for margins, echo and noise.
    """
    return simulate_timed_recording(speech, loudness_dbfs, room, rng).pcm


def simulate_timed_recording(
    speech: Samples, loudness_dbfs: float, room: RoomAcoustics, rng: np.random.Generator
) -> SimulatedRecording:
    """Simulate a recording as `simulate_recording` does, and return the start of the speech too."""
    margins = rng.integers(int(0.10 * SAMPLE_RATE_HZ), int(0.35 * SAMPLE_RATE_HZ), size=2)
    framed = np.pad(speech, (int(margins[0]), int(margins[1])))
    arriving = scale_to_loudness(reverberate(framed, room, rng), loudness_dbfs)
    mixed = arriving + synthesise_room_noise(len(arriving), room.noise_dbfs, rng)
    pcm = np.asarray(np.round(np.clip(mixed, -1.0, 1.0) * 32767), dtype=np.int16)
    return SimulatedRecording(pcm, int(margins[0]) / SAMPLE_RATE_HZ)


def reverberate(samples: Samples, room: RoomAcoustics, rng: np.random.Generator) -> Samples:
    """Convolve with noise that decays by 60 dB in the RT60 (Polack's model); the length stays."""
    n_echo = max(int(room.reverberation_s * SAMPLE_RATE_HZ), 1)
    decay = np.power(10.0, np.linspace(0.0, -3.0, n_echo, dtype=np.float32), dtype=np.float32)
    echo = rng.standard_normal(n_echo, dtype=np.float32) * decay
    echo *= np.float32(10 ** (-room.direct_to_reverberant_db / 20) / np.sqrt(np.sum(echo**2)))
    n_fft = 1 << (len(samples) + n_echo - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, n_fft) * np.fft.rfft(echo, n_fft), n_fft)
    return np.asarray(samples + wet[: len(samples)], dtype=np.float32)
