"""Synthetic background sounds without speech, generated from a seed: no recording is shipped.

Every sound is 16 kHz mono. Each is built from the physics of its kind (a falling spectrum, a mains hum with harmonics,
decaying bursts) rather than from a recording, so that a recogniser is tested on the kind and not on one recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE, dequantise, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

BackgroundSound = Literal["silence", "room", "rumble", "hum", "fan", "breath", "clicks", "chair", "murmur"]
"""Digital silence; noise that falls by 3 dB (room) or 6 dB (rumble) per octave; mains hum; ventilation; breathing;
keyboard clicks; a chair pushed over the floor; distant unintelligible voices."""
BACKGROUND_SOUNDS: Final[tuple[BackgroundSound, ...]] = get_args(BackgroundSound)

_PEAK: Final = 0.97
_SAMPLE_RATE_HZ: Final = float(SAMPLE_RATE)


def synthesise_background(
    kind: BackgroundSound, duration_s: float, loudness_dbfs: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return a sound without speech as 16-bit samples, shape [n_samples].

    Args:
        kind: The kind of sound.
        duration_s: Its length; at least one sample is returned.
        loudness_dbfs: RMS level over the whole length; without effect on silence.
        rng: Random generator.
    """
    n_samples = max(1, round(duration_s * _SAMPLE_RATE_HZ))
    if kind == "silence":
        return np.zeros(n_samples, dtype=np.int16)
    return quantise(scale_to_loudness(_SYNTHESISERS[kind](n_samples, rng), loudness_dbfs))


def synthesise_random_background(rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a random sound, with probability 0.5 mixed with a second one: 0.3 to 10 s, -65 to -22 dBFS, shape [n_samples]."""
    kind, below = rng.choice(np.array(BACKGROUND_SOUNDS), size=2)
    duration_s = float(np.exp(rng.uniform(np.log(0.3), np.log(10.0))))
    loudness_dbfs = float(rng.uniform(-65, -22))
    pcm = synthesise_background(kind, duration_s, loudness_dbfs, rng)
    if kind == "silence" or rng.random() < 0.5:
        return pcm
    second = synthesise_background(below, duration_s, loudness_dbfs - float(rng.uniform(3, 20)), rng)
    return quantise(scale_to_loudness(dequantise(pcm) + dequantise(second), loudness_dbfs))


def synthesise_room_noise(n_samples: int, noise_dbfs: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise that falls by 3 dB per octave above 100 Hz, like ventilation and distant voices, at an RMS level."""
    noise = _synthesise_coloured_noise(n_samples, lambda hz: np.sqrt(np.maximum(hz, np.float32(100.0))), rng)
    return np.asarray(noise * (10 ** (noise_dbfs / 20) / max(_rms(noise), 1e-12)), dtype=np.float32)


def scale_to_loudness(samples: NDArray[np.float32], loudness_dbfs: float) -> NDArray[np.float32]:
    """Scale to an RMS level, or to the highest level below it at which no peak clips."""
    gain = 10 ** (loudness_dbfs / 20) / max(_rms(samples), 1e-9)
    headroom = _PEAK / max(float(np.abs(samples).max()), 1e-9)
    return np.asarray(samples * min(gain, headroom), dtype=np.float32)


def _synthesise_room_tone(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return synthesise_room_noise(n_samples, -30.0, rng)


def _synthesise_rumble(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Traffic and building noise that falls by 6 dB per octave above 40 Hz."""
    return _synthesise_coloured_noise(n_samples, lambda hz: np.maximum(hz, np.float32(40.0)), rng)


def _synthesise_mains_hum(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mains hum at 50 Hz with stronger odd harmonics, and microphone hiss 25 dB below it."""
    time_s = np.arange(n_samples) / _SAMPLE_RATE_HZ
    wave = np.zeros(n_samples)
    for harmonic in range(1, 13):
        strength = (1.0 if harmonic % 2 else 0.4) / harmonic
        wave += strength * np.sin(2 * np.pi * 50 * harmonic * time_s + rng.uniform(0, 2 * np.pi))
    return np.asarray(wave / _rms(wave) + 0.056 * rng.standard_normal(n_samples), dtype=np.float32)


def _synthesise_ventilation(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Air noise below 600 Hz, modulated by the fan blades, and the tone of the blades."""
    time_s = np.arange(n_samples) / _SAMPLE_RATE_HZ
    blades_hz = rng.uniform(80, 140)
    turn = 2 * np.pi * blades_hz / 5 * time_s
    air = _synthesise_coloured_noise(n_samples, lambda hz: 1 + (hz / np.float32(600.0)) ** 2, rng)
    tone = sum(np.sin(2 * np.pi * blades_hz * k * time_s + rng.uniform(0, 6)) / k**2 for k in range(1, 4))
    return np.asarray(air / _rms(air) * (1 + 0.2 * np.sin(turn)) + 0.4 * tone, dtype=np.float32)


def _synthesise_breathing(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Breathing near a microphone: noise around 1.6 kHz in breaths of 0.7 to 1.4 s with pauses."""
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
    """Typing: a loud key press and a softer release, 4 to 9 times per second with pauses, over quiet room noise."""
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
    """A chair leg that sticks and slips on the floor: rattling noise around 500 Hz, then a knock."""
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
    knock = rng.standard_normal(int(0.06 * _SAMPLE_RATE_HZ)) * np.exp(-np.linspace(0, 6, int(0.06 * _SAMPLE_RATE_HZ)))
    _add_at(wave, 2.0 * knock, start + length)
    return np.asarray(wave, dtype=np.float32)


def _synthesise_murmur(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Eight voices behind a wall: pitch and syllables without content above 500 Hz, so that no word is intelligible."""
    voices = np.zeros(n_samples)
    knots = max(4, int(n_samples / _SAMPLE_RATE_HZ * 5))
    places = np.linspace(0, knots - 1, n_samples)
    for _ in range(8):
        pitch_hz = rng.uniform(95, 230) * np.exp(0.15 * np.interp(places, np.arange(knots), rng.standard_normal(knots)))
        phase = 2 * np.pi * np.cumsum(pitch_hz) / _SAMPLE_RATE_HZ
        syllables = np.maximum(np.interp(places, np.arange(knots), rng.normal(0.3, 0.6, knots)), 0)
        for harmonic in range(1, 7):
            weight = 1 / (harmonic * (1 + (harmonic * pitch_hz / 300) ** 4))
            voices += syllables * weight * np.sin(harmonic * phase)
    noise = _synthesise_room_tone(n_samples, rng)
    return np.asarray(voices / max(_rms(voices), 1e-9) + 0.3 * noise / _rms(noise), dtype=np.float32)


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
    n_samples: int, attenuation: Callable[[NDArray[np.float32]], NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return white noise with its spectrum divided by `attenuation` of the frequency in Hz."""
    n_fft = 1 << (n_samples - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(n_fft, dtype=np.float32))
    frequency_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE).astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum / attenuation(frequency_hz), n_fft)[:n_samples])


def _add_at(wave: NDArray[np.floating], part: NDArray[np.floating], at: int) -> None:
    """Add `part` to `wave` from sample `at` on; samples beyond the end are dropped."""
    end = min(at + len(part), len(wave))
    if at < end:
        wave[at:end] += part[: end - at]


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
