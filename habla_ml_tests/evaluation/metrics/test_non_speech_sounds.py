"""The sounds of the silence test."""

import numpy as np
import pytest

from habla_ml.audio import SAMPLE_RATE, measure
from habla_ml.audio.background_sounds import BACKGROUND_SOUNDS
from habla_ml.evaluation.metrics.non_speech_sounds import NON_SPEECH_SOUNDS, synthesise_non_speech

NOISES = [each for each in NON_SPEECH_SOUNDS if each != "silence"]


def make_sound(kind, duration_s=4.0, loudness_dbfs=-35.0, seed=1):
    return synthesise_non_speech(kind, duration_s, loudness_dbfs, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", NOISES)
def test_a_sound_has_its_duration_and_level_does_not_clip_and_depends_only_on_its_seed(kind):
    pcm = make_sound(kind)
    measured = measure(pcm)
    assert len(pcm) == 4 * SAMPLE_RATE
    # Single events reach full scale before their average reaches the level.
    assert -41.0 <= measured.loudness_dbfs <= -34.8
    assert measured.clipped_share == 0
    np.testing.assert_array_equal(pcm, make_sound(kind))
    assert not np.array_equal(pcm, make_sound(kind, seed=2))
    assert len(make_sound(kind, 0.05)) == SAMPLE_RATE // 20, "any length"


def test_no_kind_but_silence_is_trained_on():
    assert set(BACKGROUND_SOUNDS) & set(NON_SPEECH_SOUNDS) == {"silence"}
    assert not make_sound("silence").any()


def test_two_kinds_have_different_spectra():
    shapes = {}
    for kind in NOISES:
        spectrum = np.abs(np.fft.rfft(make_sound(kind, 8.0).astype(float))) ** 2
        bands = np.array([part.sum() for part in np.array_split(spectrum, 40)])
        shapes[kind] = bands / bands.sum()
    distances = [0.5 * np.abs(shapes[one] - shapes[two]).sum() for at, one in enumerate(NOISES) for two in NOISES[:at]]
    assert min(distances) > 0.05, "a share of 5 % of the energy is in other bands"
