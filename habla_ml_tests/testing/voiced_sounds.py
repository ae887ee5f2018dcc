"""Sounds with the structure of speech, and altered copies of them."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE

_STEPS_PER_S: Final = 12


def make_voice(seconds: float, seed: int) -> NDArray[np.int16]:
    """Return harmonics of a wandering pitch with wandering levels and some noise, 16 kHz; the seed determines them."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * SAMPLE_RATE)
    knots = np.linspace(0, n_samples - 1, max(3, round(seconds * _STEPS_PER_S)))

    def wander(low: float, high: float) -> NDArray[np.float64]:
        return np.interp(np.arange(n_samples), knots, rng.uniform(low, high, len(knots)))

    phase = 2 * np.pi * np.cumsum(wander(110, 240)) / SAMPLE_RATE
    voice = sum(10 ** wander(-2, 0) * np.sin(harmonic * phase) for harmonic in range(1, 20))
    sound = voice / 40 + rng.normal(0, 0.003, n_samples)
    return np.rint(np.clip(sound, -1, 1) * 32_767).astype(np.int16)


def change_gain(pcm: NDArray[np.int16], gain_db: float) -> NDArray[np.int16]:
    """Return the samples louder or quieter."""
    return np.rint(np.clip(pcm * 10 ** (gain_db / 20), -32_768, 32_767)).astype(np.int16)


def change_one_sample(pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the samples with the middle one changed by one."""
    changed = pcm.copy()
    changed[len(pcm) // 2] += 1 if changed[len(pcm) // 2] < 0 else -1
    return changed


def encode_and_decode(pcm: NDArray[np.int16], form: str) -> NDArray[np.int16]:
    """Return the samples after a lossy file format of libsndfile, such as `MP3`."""
    out = io.BytesIO()
    soundfile.write(out, pcm, SAMPLE_RATE, format=form)
    out.seek(0)
    decoded, _ = soundfile.read(out, dtype="int16")
    return np.asarray(decoded)
