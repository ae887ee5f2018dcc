import numpy as np
import pytest

from habla_ml.audio import SAMPLE_RATE, measure
from habla_ml.audio.background_sounds import (
    BACKGROUND_SOUNDS,
    scale_to_loudness,
    synthesise_background,
    synthesise_room_noise,
)


def rms_dbfs(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def power(pcm: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(pcm.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].sum())


def make_sound(kind, duration_s=4.0, loudness_dbfs=-35.0, seed=1):
    return synthesise_background(kind, duration_s, loudness_dbfs, np.random.default_rng(seed))


@pytest.mark.parametrize("loudness_dbfs", [-20.0, -42.0])
def test_a_sound_has_the_requested_loudness(loudness_dbfs):
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert rms_dbfs(scale_to_loudness(tone, loudness_dbfs)) == pytest.approx(loudness_dbfs, abs=0.01)
    assert np.abs(scale_to_loudness(tone, 0.0)).max() == pytest.approx(0.97, abs=1e-3), "stays below full scale"


def test_noise_has_its_level_and_falls_with_frequency():
    noise = synthesise_room_noise(SAMPLE_RATE, -58.0, np.random.default_rng(0))
    assert rms_dbfs(noise) == pytest.approx(-58.0, abs=0.01)
    # 1/f power: the octave from 500 Hz has four times the mean power of the octave from 2 kHz
    assert power(noise, 500, 1000) / 500 / (power(noise, 2000, 4000) / 2000) == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("kind", [each for each in BACKGROUND_SOUNDS if each != "silence"])
@pytest.mark.parametrize("duration_s", [0.5, 8.0])
def test_a_sound_has_its_duration_and_level_does_not_clip_and_depends_only_on_its_seed(kind, duration_s):
    pcm = make_sound(kind, duration_s)
    measured = measure(pcm)
    assert measured.duration_s == duration_s
    # Short peaks reach full scale before their average reaches the requested level.
    lowest = -45.0 if kind in ("clicks", "chair") else -35.2
    assert lowest <= measured.loudness_dbfs <= -34.8
    assert measured.clipped_share == 0
    np.testing.assert_array_equal(pcm, make_sound(kind, duration_s))
    assert not np.array_equal(pcm, make_sound(kind, duration_s, seed=2))


def test_silence_is_digital():
    assert not make_sound("silence").any()


def test_each_kind_has_its_spectrum():
    hum = make_sound("hum")
    mains = sum(power(hum, 50 * k - 1, 50 * k + 1) for k in range(1, 13))
    assert mains / power(hum, 0, 8001) > 0.9, "a hum is mains frequency and harmonics"
    rumble = make_sound("rumble")
    assert power(rumble, 250, 500) / power(rumble, 500, 1000) == pytest.approx(2.0, rel=0.3), (
        "6 dB per octave, in power"
    )
    breath = make_sound("breath")
    assert power(breath, 800, 2600) / power(breath, 0, 8001) > 0.5
    clicks = np.abs(make_sound("clicks", 8.0).astype(float))
    assert np.mean(clicks > 0.2 * clicks.max()) < 0.02, "clicks are short"
    murmur = make_sound("murmur")
    voices = power(murmur, 80, 500)
    assert voices / power(murmur, 0, 8001) > 0.7
    assert power(murmur, 1000, 4000) / voices < 0.05, "no formant remains that makes a word intelligible"
