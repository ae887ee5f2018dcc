"""Changes of recorded speech: speed, pitch, room, background noise and level. All sounds are 16 kHz mono, −1…1.

Speed is a resampling, so it changes pitch too (Ko et al. 2015, "Audio augmentation for speech recognition"). Pitch moves the
formants with it, as a shorter vocal tract does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PEAK: Final = 0.97
_DIRECT_S: Final = 0.0025
"""Sound within this time of the direct path counts as direct (ISO 3382 rooms have the same window for their ratios)."""


def change_speed(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Return the samples played `factor` times as fast: `int(n / factor)` of them, at least one."""
    import soxr

    n_samples = max(1, int(len(samples) / factor))
    resampled = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)[:n_samples]
    return np.pad(resampled, (0, n_samples - len(resampled)))


def shift_pitch(samples: NDArray[np.float32], semitones: float) -> NDArray[np.float32]:
    """Return as many samples with the pitch `semitones` higher."""
    from python_stretch.Signalsmith import Stretch

    stretch = Stretch(0)  # a seed; without one, equal inputs give different samples
    stretch.preset(1, SAMPLE_RATE, cheaper=True)
    stretch.setTransposeSemitones(semitones)
    shifted: NDArray[np.float32] = np.asarray(stretch.process(samples[None]), np.float32)[0]
    return shifted


def add_reverberation(
    samples: NDArray[np.float32], decay_s: float, direct_db: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the samples with the reverberation of a synthetic room, at the same RMS level and without delay.

    The response is the direct sound and noise that decays exponentially, with the high frequencies faster.

    Args:
        samples: Shape [n_samples], the same in the result: the reverberation after the end is cut.
        decay_s: Time in which the reverberation falls by 60 dB.
        direct_db: Level of the direct sound relative to the reverberation.
        rng: Random generator.
    """
    from scipy.signal import lfilter, oaconvolve

    time_s = np.arange(max(2, round(decay_s * SAMPLE_RATE)), dtype=np.float32) / np.float32(SAMPLE_RATE)
    noise = rng.standard_normal(len(time_s), dtype=np.float32)
    # The walls absorb the high frequencies: the tail goes over from white noise to noise below about 1.5 kHz.
    dull = lfilter([0.45], [1.0, -0.55], noise).astype(np.float32)
    share = np.minimum(time_s / np.float32(decay_s / 2), 1)
    tail = ((1 - share) * noise + share * dull) * np.exp(np.float32(-6.9 / decay_s) * time_s)
    tail[: round(_DIRECT_S * SAMPLE_RATE)] = 0
    response = tail * (10 ** (-direct_db / 20) / max(float(np.linalg.norm(tail)), 1e-9))
    response[0] = 1.0
    wet = oaconvolve(samples, response.astype(np.float32))[: len(samples)]
    return np.asarray(wet * (_rms(samples) / max(_rms(wet), 1e-9)), np.float32)


def add_noise(samples: NDArray[np.float32], noise: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Return the sum with `noise`, repeated to the same length, at `snr_db` below the samples; silence stays as it is."""
    repeated = np.resize(noise, len(samples))
    level = _rms(repeated)
    if level < 1e-9:
        return samples
    return np.asarray(samples + repeated * (_rms(samples) / level * 10 ** (-snr_db / 20)), np.float32)


def change_gain(samples: NDArray[np.float32], gain_db: float) -> NDArray[np.float32]:
    """Return the samples amplified by `gain_db`, or by less where a peak would clip."""
    headroom = _PEAK / max(float(np.abs(samples).max(initial=0.0)), 1e-9)
    return np.asarray(samples * min(10 ** (gain_db / 20), headroom), np.float32)


def _rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
