"""What a room sounds like while nobody speaks, made from a seed: no recording is shipped and nobody is heard.

Every sound is 16 kHz mono. They are shaped after what the sound is made of (a falling spectrum, a mains hum and its
harmonics, bursts that die away), not after a recording, so they test a recogniser on the kind and not on one room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE, dequantise, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

BackgroundSound = Literal["silence", "room", "rumble", "hum", "fan", "breath", "clicks", "chair", "murmur"]
"""Digital silence; noise that falls by 3 or by 6 dB an octave; mains; ventilation; breathing; keys; a chair pushed over
the floor; far voices of which no word can be told."""
BACKGROUND_SOUNDS: Final[tuple[BackgroundSound, ...]] = get_args(BackgroundSound)

_PEAK: Final = 0.97
_SAMPLE_RATE_HZ: Final = float(SAMPLE_RATE)


def synthesise_background(
    kind: BackgroundSound, duration_s: float, loudness_dbfs: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """A sound without speech as 16-bit samples, shape [n_samples].

    Args:
        kind: What is heard.
        duration_s: Its length, at least one sample.
        loudness_dbfs: RMS level over the whole length; silence has none.
        rng: Source of everything that varies.
    """
    n_samples = max(1, round(duration_s * _SAMPLE_RATE_HZ))
    if kind == "silence":
        return np.zeros(n_samples, dtype=np.int16)
    return quantise(scale_to_loudness(_SYNTHESISERS[kind](n_samples, rng), loudness_dbfs))


def synthesise_random_background(rng: np.random.Generator) -> NDArray[np.int16]:
    """One of `BACKGROUND_SOUNDS`, half of the time over a second one: 0.3 to 10 s at -65 to -22 dBFS, shape [n_samples]."""
    kind, below = rng.choice(np.array(BACKGROUND_SOUNDS), size=2)
    duration_s = float(np.exp(rng.uniform(np.log(0.3), np.log(10.0))))
    loudness_dbfs = float(rng.uniform(-65, -22))
    pcm = synthesise_background(kind, duration_s, loudness_dbfs, rng)
    if kind == "silence" or rng.random() < 0.5:
        return pcm
    second = synthesise_background(below, duration_s, loudness_dbfs - float(rng.uniform(3, 20)), rng)
    return quantise(scale_to_loudness(dequantise(pcm) + dequantise(second), loudness_dbfs))


def synthesise_room_noise(n_samples: int, noise_dbfs: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Ventilation and far voices: noise that falls by 3 dB an octave above 100 Hz, at an RMS level."""
    noise = _synthesise_coloured_noise(n_samples, lambda hz: np.sqrt(np.maximum(hz, np.float32(100.0))), rng)
    return np.asarray(noise * (10 ** (noise_dbfs / 20) / max(_rms(noise), 1e-12)), dtype=np.float32)


def scale_to_loudness(samples: NDArray[np.float32], loudness_dbfs: float) -> NDArray[np.float32]:
    """Scale to an RMS level; where peaks would clip, stay as far below it as needed."""
    gain = 10 ** (loudness_dbfs / 20) / max(_rms(samples), 1e-9)
    headroom = _PEAK / max(float(np.abs(samples).max()), 1e-9)
    return np.asarray(samples * min(gain, headroom), dtype=np.float32)


def _synthesise_room_tone(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return synthesise_room_noise(n_samples, -30.0, rng)


def _synthesise_rumble(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Traffic and building: noise that falls by 6 dB an octave above 40 Hz."""
    return _synthesise_coloured_noise(n_samples, lambda hz: np.maximum(hz, np.float32(40.0)), rng)


def _synthesise_mains_hum(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mains at 50 Hz with harmonics, the odd ones stronger, and 25 dB below it the hiss of a microphone."""
    time_s = np.arange(n_samples) / _SAMPLE_RATE_HZ
    wave = np.zeros(n_samples)
    for harmonic in range(1, 13):
        strength = (1.0 if harmonic % 2 else 0.4) / harmonic
        wave += strength * np.sin(2 * np.pi * 50 * harmonic * time_s + rng.uniform(0, 2 * np.pi))
    return np.asarray(wave / _rms(wave) + 0.056 * rng.standard_normal(n_samples), dtype=np.float32)


def _synthesise_ventilation(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Air below 600 Hz that swells with the blades, and the tone of the blades."""
    time_s = np.arange(n_samples) / _SAMPLE_RATE_HZ
    blades_hz = rng.uniform(80, 140)
    turn = 2 * np.pi * blades_hz / 5 * time_s
    air = _synthesise_coloured_noise(n_samples, lambda hz: 1 + (hz / np.float32(600.0)) ** 2, rng)
    tone = sum(np.sin(2 * np.pi * blades_hz * k * time_s + rng.uniform(0, 6)) / k**2 for k in range(1, 4))
    return np.asarray(air / _rms(air) * (1 + 0.2 * np.sin(turn)) + 0.4 * tone, dtype=np.float32)


def _synthesise_breathing(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Breathing in and out near a microphone: air around 1.6 kHz in humps of 0.7 to 1.4 s with pauses between them."""
    air = _synthesise_coloured_noise(
        n_samples, lambda hz: 1 + ((hz - np.float32(1600.0)) / np.float32(900.0)) ** 2, rng
    )
    envelope = np.zeros(n_samples)
    at = 0
    while at < n_samples:
        hump = np.hanning(int(rng.uniform(0.7, 1.4) * _SAMPLE_RATE_HZ)) * rng.uniform(0.6, 1.0)
        _add_at(envelope, hump, at)
        at += len(hump) + int(rng.uniform(0.1, 0.5) * _SAMPLE_RATE_HZ)
    return np.asarray(air * envelope, dtype=np.float32)


def _synthesise_key_clicks(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Typing: a hard key down and a softer key up, 4 to 9 times a second with pauses, over a quiet room."""
    wave = 0.01 * _synthesise_room_tone(n_samples, rng) / 10 ** (-30 / 20)
    at = int(rng.uniform(0.02, 0.2) * n_samples)
    while at < n_samples:
        for delay_s, strength in ((0.0, 1.0), (rng.uniform(0.05, 0.09), 0.35)):
            length = int(rng.uniform(0.004, 0.012) * _SAMPLE_RATE_HZ)
            burst = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
            _add_at(wave, strength * rng.uniform(0.5, 1.0) * burst, at + int(delay_s * _SAMPLE_RATE_HZ))
        pause_s = rng.uniform(0.5, 1.2) if rng.random() < 0.12 else rng.uniform(0.11, 0.25)
        at += int(pause_s * _SAMPLE_RATE_HZ)
    return np.asarray(wave, dtype=np.float32)


def _synthesise_chair_scrape(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A chair's leg that sticks and slips over the floor: a rattling noise around 500 Hz, then a knock."""
    time_s = np.arange(n_samples) / _SAMPLE_RATE_HZ
    wave = 0.01 * _synthesise_room_tone(n_samples, rng) / 10 ** (-30 / 20)
    scrape = _synthesise_coloured_noise(
        n_samples, lambda hz: 1 + ((hz - np.float32(500.0)) / np.float32(250.0)) ** 2, rng
    )
    rattle = np.abs(np.sin(np.pi * rng.uniform(18, 35) * time_s)) ** 3
    start, length = int(rng.uniform(0.05, 0.2) * n_samples), max(2, int(rng.uniform(0.4, 0.6) * n_samples))
    envelope = np.zeros(n_samples)
    _add_at(envelope, np.hanning(length), start)
    wave = wave + scrape / _rms(scrape) * rattle * envelope
    knock = rng.standard_normal(int(0.06 * _SAMPLE_RATE_HZ)) * np.exp(
        -np.linspace(0, 6, int(0.06 * _SAMPLE_RATE_HZ))
    )
    _add_at(wave, 2.0 * knock, start + length)
    return np.asarray(wave, dtype=np.float32)


def _synthesise_murmur(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Eight voices behind a wall: pitch and syllables can be told, and nothing above 500 Hz, so no word can."""
    voices = np.zeros(n_samples)
    knots = max(4, int(n_samples / _SAMPLE_RATE_HZ * 5))
    places = np.linspace(0, knots - 1, n_samples)
    for _ in range(8):
        pitch_hz = rng.uniform(95, 230) * np.exp(
            0.15 * np.interp(places, np.arange(knots), rng.standard_normal(knots))
        )
        phase = 2 * np.pi * np.cumsum(pitch_hz) / _SAMPLE_RATE_HZ
        syllables = np.maximum(np.interp(places, np.arange(knots), rng.normal(0.3, 0.6, knots)), 0)
        for harmonic in range(1, 7):
            weight = 1 / (harmonic * (1 + (harmonic * pitch_hz / 300) ** 4))
            voices += syllables * weight * np.sin(harmonic * phase)
    room = _synthesise_room_tone(n_samples, rng)
    return np.asarray(voices / max(_rms(voices), 1e-9) + 0.3 * room / _rms(room), dtype=np.float32)


_SYNTHESISERS: Final[dict[BackgroundSound, Callable[[int, np.random.Generator], NDArray[np.float32]]]] = {
    "room": _synthesise_room_tone,
    "rumble": _synthesise_rumble,
    "hum": _synthesise_mains_hum,
    "fan": _synthesise_ventilation,
    "breath": _synthesise_breathing,
    "clicks": _synthesise_key_clicks,
    "chair": _synthesise_chair_scrape,
    "murmur": _synthesise_murmur,
}


def _synthesise_coloured_noise(
    n_samples: int,
    attenuation: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """White noise whose spectrum is divided by `attenuation` of the frequency in Hz."""
    n_fft = 1 << (n_samples - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(n_fft, dtype=np.float32))
    frequency_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE).astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum / attenuation(frequency_hz), n_fft)[:n_samples])


def _add_at(wave: NDArray[np.floating], part: NDArray[np.floating], at: int) -> None:
    """Add `part` to `wave` from sample `at` on; what sticks out is cut."""
    end = min(at + len(part), len(wave))
    if at < end:
        wave[at:end] += part[: end - at]


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
