"""Estimates compared with mixtures of known ratio: the demo's voices with its reverberation."""

from functools import cache

import numpy as np
import pytest

from habla_ml.audio.background_sounds import synthesise_room_noise
from habla_ml.audio.snr import MAX_SNR_DB, MIN_DURATION_S, MIN_SNR_DB, estimate_snr_db
from habla_ml.demo.acoustics import reverberate
from habla_ml.demo.grammar import generate_sentence
from habla_ml.demo.phonology import apply_dialect
from habla_ml.demo.speech_synthesis import synthesize_speech, text_to_phonemes
from habla_ml.demo.synthetic_speakers import make_andalusian_classroom

CLIPS = 24


@cache
def synthesise_sentences(with_margins: bool = True) -> list[np.ndarray]:
    """Return reverberant sentences of many voices at −20 dBFS without noise."""
    rng = np.random.default_rng(5)
    classroom = make_andalusian_classroom(7)
    spoken = []
    for at in range(CLIPS):
        speaker = classroom.students[at % 20] if at % 3 else classroom.teacher
        dry = synthesize_speech(
            apply_dialect(text_to_phonemes(generate_sentence(speaker.register, rng)), speaker.dialect, rng),
            speaker.voice,
        )
        margins = rng.integers(1600, 5600, size=2) if with_margins else (0, 0)
        wet = reverberate(np.pad(dry, (int(margins[0]), int(margins[1]))), classroom.room, rng)
        spoken.append(wet / np.sqrt(np.mean(wet**2)) * 0.1)
    return spoken


def white_noise(n_samples: int, dbfs: float, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n_samples).astype(np.float32) * np.float32(10 ** (dbfs / 20))


def estimate_all(snr_db: float, noise=synthesise_room_noise, with_margins: bool = True) -> np.ndarray:
    found = []
    for at, speech in enumerate(synthesise_sentences(with_margins)):
        rng = np.random.default_rng(at)
        found.append(estimate_snr_db((speech + noise(len(speech), -20.0 - snr_db, rng)).astype(np.float32)))
    return np.array(found, dtype=float)


@pytest.mark.parametrize("noise", [synthesise_room_noise, white_noise])
@pytest.mark.parametrize(
    ("snr_db", "bias_db", "spread_db"), [(0, 1, 1), (5, 1, 1), (10, 1, 1), (15, 1, 1), (20, 1, 1), (30, 1.5, 2)]
)
def test_the_bias_is_below_1_db_and_at_30_db_below_1_5_db(
    noise, snr_db: float, bias_db: float, spread_db: float
) -> None:
    errors = estimate_all(snr_db, noise) - snr_db
    print(f"{noise.__name__} at {snr_db} dB: {errors.mean():+.2f} ± {errors.std():.2f} dB")
    assert abs(errors.mean()) < bias_db
    assert errors.std() < spread_db


def test_clips_without_margins_are_still_separated_at_10_db() -> None:
    noisy, clean = estimate_all(5, with_margins=False), estimate_all(20, with_margins=False)
    assert (noisy < 10).all()
    assert np.mean(clean > 10) > 0.9


def test_the_scale_of_the_samples_does_not_matter() -> None:
    speech = synthesise_sentences()[0] + synthesise_room_noise(
        len(synthesise_sentences()[0]), -35.0, np.random.default_rng(1)
    )
    pcm = np.round(speech * 32767).astype(np.int16)
    assert estimate_snr_db(pcm) == pytest.approx(estimate_snr_db(speech.astype(np.float32)), abs=0.05)


def test_noise_alone_has_a_low_estimate_and_a_tone_after_digital_silence_the_highest() -> None:
    noise = white_noise(48_000, -30.0, np.random.default_rng(2))
    assert MIN_SNR_DB <= estimate_snr_db(noise) < -5
    tone = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    assert estimate_snr_db(np.concatenate([np.zeros(16_000, np.float32), tone])) == MAX_SNR_DB


def test_short_and_silent_clips_have_no_estimate() -> None:
    shortest = round(MIN_DURATION_S * 16_000)
    assert estimate_snr_db(white_noise(shortest, -20.0, np.random.default_rng(3))) is not None
    assert estimate_snr_db(white_noise(shortest - 1, -20.0, np.random.default_rng(3))) is None
    assert estimate_snr_db(np.zeros(16_000, np.float32)) is None
    assert estimate_snr_db(np.zeros(0, np.int16)) is None
