"""The sounds of the silence test: twenty kinds that no training uses.

`habla_ml.audio.background_sounds` makes the sounds that models are trained on. A test with the same generator measures
whether a model knows that generator. These kinds are other sounds, made in another way: struck and plucked modes with
inharmonic partials, filtered noise with an envelope of events, and chirps. Neither module uses the other's code for a
sound. Every sound is 16 kHz mono and made from a seed; no recording is shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from habla_ml.audio import SAMPLE_RATE, quantise
from habla_ml.audio.background_sounds import scale_to_loudness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float64]

NonSpeechSound = Literal[
    "silence",
    "rain",
    "wind",
    "school bell",
    "footsteps",
    "paper",
    "door",
    "applause",
    "pencil taps",
    "phone buzz",
    "chalk",
    "alarm beeps",
    "microphone handling",
    "passing car",
    "birds",
    "clock",
    "zip",
    "tap water",
    "keys",
    "piano notes",
]
NON_SPEECH_SOUNDS: Final[tuple[NonSpeechSound, ...]] = get_args(NonSpeechSound)


def synthesise_non_speech(
    kind: NonSpeechSound, duration_s: float, loudness_dbfs: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return a sound as 16-bit samples, shape [n_samples].

    Args:
        kind: The kind of sound.
        duration_s: Its length; at least one sample is returned.
        loudness_dbfs: RMS level over the whole length; lower where peaks would clip, and without effect on silence.
        rng: Random generator.
    """
    n_samples = max(1, round(duration_s * SAMPLE_RATE))
    if kind == "silence":
        return np.zeros(n_samples, dtype=np.int16)
    wave = _SYNTHESISERS[kind](n_samples, rng)
    # The hiss of a microphone, 45 dB below the sound: real recordings have no digital silence between events.
    wave += 0.0056 * max(float(np.sqrt(np.mean(wave**2))), 1e-6) * rng.standard_normal(n_samples)
    return quantise(scale_to_loudness(wave.astype(np.float32), loudness_dbfs))


def _seconds(n_samples: int) -> Samples:
    return np.arange(n_samples) / SAMPLE_RATE


def _band_noise(n_samples: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> Samples:
    from scipy.signal import butter, sosfilt

    sections = butter(2, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered: Samples = sosfilt(sections, rng.standard_normal(n_samples))
    return filtered


def _ring(duration_s: float, partials_hz: Samples, decay_s: float, rng: np.random.Generator) -> Samples:
    """Return a struck body: decaying partials, higher ones decay faster."""
    time_s = _seconds(round(duration_s * SAMPLE_RATE))
    audible = partials_hz[partials_hz < 0.45 * SAMPLE_RATE]
    waves = [
        np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) * np.exp(-time_s / decay_s * (hz / audible[0]) ** 0.5) / at
        for at, hz in enumerate(audible, start=1)
    ]
    return np.asarray(np.sum(waves, axis=0))


def _place(
    n_samples: int, make_event: Callable[[], Samples], gap_s: tuple[float, float], rng: np.random.Generator
) -> Samples:
    """Repeat an event at random gaps; the first is within the first gap, so that a short clip has one."""
    wave = np.zeros(n_samples)
    at = int(rng.uniform(0.0, min(gap_s[0], 0.3 * n_samples / SAMPLE_RATE)) * SAMPLE_RATE)
    while at < n_samples:
        event = make_event()[: n_samples - at]
        wave[at : at + len(event)] += event * rng.uniform(0.6, 1.0)
        at += max(1, int(rng.uniform(*gap_s) * SAMPLE_RATE))
    return wave


def _burst(duration_s: float, low_hz: float, high_hz: float, rng: np.random.Generator) -> Samples:
    """Return noise that decays to a thousandth."""
    length = max(64, round(duration_s * SAMPLE_RATE))
    return _band_noise(length, low_hz, high_hz, rng) * np.exp(-7 * np.arange(length) / length)


def _swell(n_samples: int, knots_per_s: float, rng: np.random.Generator) -> Samples:
    """Return a slow random envelope between 0.1 and 1."""
    knots = max(3, round(knots_per_s * n_samples / SAMPLE_RATE) + 1)
    return np.interp(np.linspace(0, knots - 1, n_samples), np.arange(knots), rng.uniform(0.1, 1.0, knots))


def _synthesise_rain(n_samples: int, rng: np.random.Generator) -> Samples:
    from scipy.signal import fftconvolve

    drops = (rng.random(n_samples) < 400 / SAMPLE_RATE) * rng.exponential(1.0, n_samples)
    drop = _burst(0.006, 1500, 6500, rng)
    return np.asarray(fftconvolve(drops, drop)[:n_samples]) + 0.05 * _band_noise(n_samples, 800, 6000, rng)


def _synthesise_wind(n_samples: int, rng: np.random.Generator) -> Samples:
    low, whistle = _band_noise(n_samples, 40, 300, rng), _band_noise(n_samples, 500, 800, rng)
    gusts = _swell(n_samples, 0.8, rng)
    return low * gusts + 0.3 * whistle * gusts**3


def _synthesise_school_bell(n_samples: int, rng: np.random.Generator) -> Samples:
    partials = rng.uniform(600, 900) * np.array([1.0, 2.76, 5.4, 8.93])  # of a bar, not of a string
    return _place(n_samples, lambda: _ring(0.6, partials, 0.25, rng), (0.07, 0.09), rng)


def _synthesise_footsteps(n_samples: int, rng: np.random.Generator) -> Samples:
    def step() -> Samples:
        heel, sole = _burst(0.09, 60, 400, rng), _burst(0.14, 300, 2500, rng)
        return np.pad(heel, (0, len(sole) - len(heel))) + 0.3 * sole

    return _place(n_samples, step, (0.45, 0.65), rng)


def _synthesise_paper(n_samples: int, rng: np.random.Generator) -> Samples:
    crackle = np.abs(rng.standard_normal(n_samples)) ** 6 * _swell(n_samples, 6, rng) ** 2
    return _band_noise(n_samples, 1200, 7000, rng) * np.minimum(crackle, 8)


def _synthesise_door(n_samples: int, rng: np.random.Generator) -> Samples:
    time_s = _seconds(n_samples)
    sticking = (
        np.cumsum(rng.uniform(60, 90) * (1 + 0.4 * np.sin(2 * np.pi * 1.3 * time_s + rng.uniform(0, 6)))) / SAMPLE_RATE
    )
    creak = np.sin(2 * np.pi * 900 * time_s) * (np.mod(sticking, 1.0) < 0.08)
    slam = _burst(0.35, 50, 900, rng)
    wave = 0.15 * creak * (time_s < 0.6 * time_s[-1])
    start = min(int(0.62 * n_samples), n_samples - 1)
    tail = slam[: n_samples - start]
    wave[start : start + len(tail)] += 3 * tail
    return np.asarray(wave)


def _synthesise_applause(n_samples: int, rng: np.random.Generator) -> Samples:
    claps = np.zeros(n_samples)
    for _ in range(25):
        clap = _burst(0.02, rng.uniform(600, 1000), rng.uniform(2000, 4000), rng)
        claps += _place(n_samples, lambda clap=clap: clap, (0.2, 0.35), rng)  # type: ignore[misc]
    return claps


def _synthesise_pencil_taps(n_samples: int, rng: np.random.Generator) -> Samples:
    wood = rng.uniform(900, 1500) * np.array([1.0, 2.3, 3.9])
    return _place(n_samples, lambda: _ring(0.05, wood, 0.01, rng), (0.15, 0.6), rng)


def _synthesise_phone_buzz(n_samples: int, rng: np.random.Generator) -> Samples:
    time_s = _seconds(n_samples)
    motor = sum(np.sin(2 * np.pi * 175 * k * time_s + rng.uniform(0, 6)) / k for k in range(1, 8))
    on = np.mod(time_s + rng.uniform(0, 0.2), 1.2) < 0.6
    return np.asarray(motor * on)


def _synthesise_chalk(n_samples: int, rng: np.random.Generator) -> Samples:
    def stroke() -> Samples:
        length = round(rng.uniform(0.08, 0.3) * SAMPLE_RATE)
        return _band_noise(length, 2000, 6000, rng) * np.hanning(length)

    return _place(n_samples, stroke, (0.2, 0.5), rng)


def _synthesise_alarm_beeps(n_samples: int, rng: np.random.Generator) -> Samples:
    time_s = _seconds(n_samples)
    return np.sign(np.sin(2 * np.pi * rng.uniform(1800, 2600) * time_s)) * (np.mod(time_s, 0.25) < 0.12)


def _synthesise_microphone_handling(n_samples: int, rng: np.random.Generator) -> Samples:
    thumps = _place(n_samples, lambda: _burst(rng.uniform(0.05, 0.2), 30, 250, rng), (0.2, 0.9), rng)
    return thumps + 0.1 * _band_noise(n_samples, 300, 3000, rng) * _swell(n_samples, 4, rng) ** 3


def _synthesise_passing_car(n_samples: int, rng: np.random.Generator) -> Samples:
    time_s = _seconds(n_samples)
    middle = 0.5 * time_s[-1]
    near = 1 / (1 + ((time_s - middle) / (0.25 * time_s[-1] + 0.1)) ** 2)
    engine_hz = 85 * (1 - 0.08 * np.tanh((time_s - middle) / 0.4))
    engine = np.sign(np.sin(2 * np.pi * np.cumsum(engine_hz) / SAMPLE_RATE))
    return np.asarray(near * (_band_noise(n_samples, 100, 1500, rng) + 0.15 * engine))


def _synthesise_birds(n_samples: int, rng: np.random.Generator) -> Samples:
    def chirp() -> Samples:
        length = round(rng.uniform(0.05, 0.15) * SAMPLE_RATE)
        sweep = np.linspace(rng.uniform(2500, 5500), rng.uniform(2500, 5500), length)
        return np.sin(2 * np.pi * np.cumsum(sweep) / SAMPLE_RATE) * np.hanning(length)

    return _place(n_samples, chirp, (0.08, 0.4), rng)


def _synthesise_clock(n_samples: int, rng: np.random.Generator) -> Samples:
    return _place(n_samples, lambda: _ring(0.03, np.array([2200.0, 3700.0, 6100.0]), 0.004, rng), (0.5, 0.5), rng)


def _synthesise_zip(n_samples: int, rng: np.random.Generator) -> Samples:
    teeth_hz = np.interp(np.linspace(0, 1, n_samples), [0, 0.5, 1], [60.0, rng.uniform(150, 250), 80.0])
    teeth = np.mod(np.cumsum(teeth_hz) / SAMPLE_RATE, 1.0) < 0.15
    return _band_noise(n_samples, 1500, 6000, rng) * teeth


def _synthesise_tap_water(n_samples: int, rng: np.random.Generator) -> Samples:
    def bubble() -> Samples:
        time_s = _seconds(round(0.03 * SAMPLE_RATE))
        hz = rng.uniform(400, 2500) * (1 + 8 * time_s)
        return np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE) * np.exp(-time_s / 0.008)

    return _place(n_samples, bubble, (0.002, 0.015), rng) + 0.3 * _band_noise(n_samples, 300, 5000, rng)


def _synthesise_keys(n_samples: int, rng: np.random.Generator) -> Samples:
    def jingle() -> Samples:
        return _ring(0.15, rng.uniform(2500, 4000) * np.array([1.0, 1.34, 1.81]), 0.03, rng)

    return _place(n_samples, jingle, (0.03, 0.12), rng)


def _synthesise_piano_notes(n_samples: int, rng: np.random.Generator) -> Samples:
    def note() -> Samples:
        partials = 220 * 2 ** (rng.integers(0, 25) / 12) * np.arange(1, 9) * 1.0005 ** np.arange(8)
        return _ring(1.5, partials, 0.5, rng)

    return _place(n_samples, note, (0.25, 0.6), rng)


_SYNTHESISERS: Final[dict[NonSpeechSound, Callable[[int, np.random.Generator], Samples]]] = {
    "rain": _synthesise_rain,
    "wind": _synthesise_wind,
    "school bell": _synthesise_school_bell,
    "footsteps": _synthesise_footsteps,
    "paper": _synthesise_paper,
    "door": _synthesise_door,
    "applause": _synthesise_applause,
    "pencil taps": _synthesise_pencil_taps,
    "phone buzz": _synthesise_phone_buzz,
    "chalk": _synthesise_chalk,
    "alarm beeps": _synthesise_alarm_beeps,
    "microphone handling": _synthesise_microphone_handling,
    "passing car": _synthesise_passing_car,
    "birds": _synthesise_birds,
    "clock": _synthesise_clock,
    "zip": _synthesise_zip,
    "tap water": _synthesise_tap_water,
    "keys": _synthesise_keys,
    "piano notes": _synthesise_piano_notes,
}
