import numpy as np
import pytest

from habla_ml.demo.acoustics import RoomAcoustics, reverberate, simulate_recording, simulate_timed_recording
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ

ROOM = RoomAcoustics(noise_dbfs=-58.0, reverberation_s=0.4, direct_to_reverberant_db=6.0)


def rms_dbfs(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def tone(duration_s: float = 1.0) -> np.ndarray:
    time_s = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.sin(2 * np.pi * 440 * time_s).astype(np.float32)


def test_reverberation_decays_as_the_room_specifies():
    click = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    click[100] = 1.0
    reverberant = reverberate(click, ROOM, np.random.default_rng(0))
    echoes = reverberant - click
    assert 10 * np.log10(1.0 / np.sum(echoes**2)) == pytest.approx(6.0, abs=0.1)
    early, late = np.sum(echoes[100:1700] ** 2), np.sum(echoes[3300:4900] ** 2)
    # 60 dB in 0.4 s: 0.2 s later, 30 dB less
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=1.5)


def test_a_recording_is_repeatable_and_keeps_a_margin():
    speech = tone(2.0)
    first, again = (simulate_recording(speech, -20.0, ROOM, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int16
    assert 2.2 <= len(first) / SAMPLE_RATE_HZ <= 2.7


def test_quiet_speech_has_a_lower_signal_to_noise_ratio():
    recordings = [
        simulate_recording(tone(2.0), loudness, ROOM, np.random.default_rng(4)) / 32768 for loudness in (-20, -42)
    ]
    loud, quiet = (rms_dbfs(recording) for recording in recordings)
    assert loud - quiet == pytest.approx(22.0, abs=0.5)


def test_speech_starts_at_the_reported_time():
    quiet_room = RoomAcoustics(noise_dbfs=-90.0, reverberation_s=0.2, direct_to_reverberant_db=30.0)
    recording = simulate_timed_recording(tone(1.0), -20.0, quiet_room, np.random.default_rng(4))
    np.testing.assert_array_equal(
        recording.pcm, simulate_recording(tone(1.0), -20.0, quiet_room, np.random.default_rng(4))
    )
    first = np.flatnonzero(np.abs(recording.pcm / 32768) > 0.01)[0] / SAMPLE_RATE_HZ
    assert first == pytest.approx(recording.speech_start_s, abs=0.002)
