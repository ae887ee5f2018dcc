import numpy as np
import pytest

from habla_ml.demo.acoustics import Room, at_loudness, record, reverberate, room_noise
from habla_ml.demo.speech import SAMPLE_RATE_HZ

ROOM = Room(noise_dbfs=-58.0, reverberation_s=0.4, direct_to_reverberant_db=6.0)


def rms_dbfs(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def tone(duration_s: float = 1.0) -> np.ndarray:
    time_s = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.sin(2 * np.pi * 440 * time_s).astype(np.float32)


@pytest.mark.parametrize("loudness_dbfs", [-20.0, -42.0])
def test_loudness_is_what_was_asked(loudness_dbfs):
    assert rms_dbfs(at_loudness(tone(), loudness_dbfs)) == pytest.approx(loudness_dbfs, abs=0.01)


def test_a_loudness_that_would_clip_stops_below_full_scale():
    assert np.abs(at_loudness(tone(), 0.0)).max() == pytest.approx(0.97, abs=1e-3)


def test_noise_has_its_level_and_falls_with_frequency():
    noise = room_noise(SAMPLE_RATE_HZ, -58.0, np.random.default_rng(0))
    assert rms_dbfs(noise) == pytest.approx(-58.0, abs=0.01)
    power = np.abs(np.fft.rfft(noise)) ** 2
    # 1/f power: one octave of bins from 500 Hz holds four times the mean power of one from 2 kHz
    assert power[500:1000].mean() / power[2000:4000].mean() == pytest.approx(4.0, rel=0.25)


def test_echoes_are_as_weak_as_the_room_says():
    click = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    click[100] = 1.0
    heard = reverberate(click, ROOM, np.random.default_rng(0))
    echoes = heard - click
    assert 10 * np.log10(1.0 / np.sum(echoes**2)) == pytest.approx(6.0, abs=0.1)
    early, late = np.sum(echoes[100:1700] ** 2), np.sum(echoes[3300:4900] ** 2)
    # 60 dB in 0.4 s: 0.2 s later, 30 dB less
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=1.5)


def test_a_recording_is_repeatable_and_keeps_a_margin():
    speech = tone(2.0)
    first, again = (record(speech, -20.0, ROOM, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int16
    assert 2.2 <= len(first) / SAMPLE_RATE_HZ <= 2.7


def test_quiet_speech_lies_nearer_to_the_noise():
    recordings = [record(tone(2.0), loudness, ROOM, np.random.default_rng(4)) / 32768 for loudness in (-20, -42)]
    loud, quiet = (rms_dbfs(recording) for recording in recordings)
    assert loud - quiet == pytest.approx(22.0, abs=0.5)
