import numpy as np
import pytest
from numpy.typing import NDArray

from habla_ml.audio.speech_effects import add_noise, add_reverberation, change_gain, change_speed, shift_pitch

TIME_S = np.arange(2 * 16_000) / 16_000


def make_tone(hz: float, amplitude: float = 0.2) -> NDArray[np.float32]:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * TIME_S), np.float32)


def find_pitch_hz(samples: NDArray[np.float32]) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


def measure_db(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_duration_and_pitch_by_the_same_factor(factor: float) -> None:
    faster = change_speed(make_tone(400), factor)
    assert len(faster) == int(32_000 / factor)
    assert find_pitch_hz(faster) == pytest.approx(400 * factor, abs=1)
    assert len(change_speed(np.ones(1, np.float32), 2.0)) == 1


@pytest.mark.parametrize("semitones", [-2.0, 4.0])
def test_pitch_keeps_duration_level_and_time(semitones: float) -> None:
    shifted = shift_pitch(make_tone(400), semitones)
    assert len(shifted) == 32_000
    assert find_pitch_hz(shifted) == pytest.approx(400 * 2 ** (semitones / 12), abs=2)
    assert measure_db(shifted) == pytest.approx(measure_db(make_tone(400)), abs=1)
    click = np.zeros(32_000, np.float32)
    click[16_000] = 1
    assert abs(int(np.abs(shift_pitch(click, semitones)).argmax()) - 16_000) < 160
    assert np.array_equal(shifted, shift_pitch(make_tone(400), semitones))


def test_reverberation_decays_in_its_time_without_delay_and_keeps_the_level() -> None:
    click = np.zeros(32_000, np.float32)
    click[1_000] = 0.5
    wet = add_reverberation(click, 0.5, 6.0, np.random.default_rng(0))
    assert int(np.abs(wet).argmax()) == 1_000
    assert measure_db(wet) == pytest.approx(measure_db(click), abs=0.01)
    early, late = (measure_db(wet[1_000 + first : 1_000 + first + 1_600]) for first in (800, 5_600))
    assert early - late == pytest.approx(60 * 0.3 / 0.5, abs=6), "0.3 s later, in a room of 0.5 s for 60 dB"
    assert not np.abs(wet[1_000 + 8_100 :]).max() > 1e-6


def test_noise_has_its_distance_from_the_speech_and_silence_stays_silent() -> None:
    speech, noise = make_tone(400), np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    noisy = add_noise(speech, noise, 10.0)
    assert measure_db(speech) - measure_db(noisy - speech) == pytest.approx(10, abs=0.1)
    assert not add_noise(np.zeros(100, np.float32), noise, 10.0).any()
    assert np.array_equal(add_noise(speech, np.zeros(100, np.float32), 10.0), speech)


def test_gain_is_exact_below_the_peak_and_never_clips() -> None:
    speech = make_tone(400)
    assert measure_db(change_gain(speech, -20.0)) == pytest.approx(measure_db(speech) - 20, abs=0.01)
    assert np.abs(change_gain(speech, 40.0)).max() == pytest.approx(0.97, abs=1e-3)
    assert not change_gain(np.zeros(10, np.float32), 40.0).any()
