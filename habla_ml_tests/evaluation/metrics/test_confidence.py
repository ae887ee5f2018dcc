"""The calibration of a model's confidence, on simulated clips with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.metrics.confidence import ConfidenceScore, compute_confidence_score
from habla_ml.evaluation.metrics.inputs import DecodedModel
from habla_ml.evaluation.scoring.statistics import Draws
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import TEST_PROVENANCE, TEST_SETTINGS, make_utterances


def simulate(seed: int, shift: float = 0.0, sessions: int = 16, per_session: int = 40) -> ConfidenceScore:
    """Score clips of eight words, each word right with the clip's confidence minus `shift`."""
    rng = np.random.default_rng(seed)
    clips = sessions * per_session
    confidence = rng.uniform(0.5, 0.95, clips)
    written = np.full(clips, 8, dtype=np.int64)
    hits = rng.binomial(8, confidence - shift)
    draws = Draws.of([f"s{at // per_session}" for at in range(clips)], 500, 1)
    return compute_confidence_score(confidence, written, hits, written - hits, draws, range(clips))


def test_a_calibrated_model_has_an_error_of_zero_and_a_shifted_one_has_the_shift() -> None:
    calibrated = [simulate(seed).calibration_error for seed in range(20)]
    assert np.mean([each.value for each in calibrated]) < 0.01
    assert sum(each.low < 0.005 for each in calibrated) >= 18
    shifted = [simulate(seed, 0.2) for seed in range(20)]
    assert np.mean([each.calibration_error.value for each in shifted]) == pytest.approx(0.2, abs=0.005)
    covered = sum(each.calibration_error.low <= 0.2 <= each.calibration_error.high for each in shifted)
    assert covered >= 17
    assert shifted[0].confidence - shifted[0].accuracy == pytest.approx(0.2, abs=0.02)
    assert sum(each.clips for each in shifted[0].bins) == 640


def test_confidence_that_orders_the_errors_finds_them_and_random_confidence_does_not() -> None:
    errors = np.repeat([4, 0, 0, 0, 0], 40)
    written = np.full(200, 8, dtype=np.int64)
    draws = Draws.of([f"s{at % 10}" for at in range(200)], 300, 1)
    perfect = compute_confidence_score(np.linspace(0.1, 0.9, 200), written, written - errors, errors, draws, range(200))
    assert perfect.error_detection is not None
    assert perfect.errors_in_least_confident is not None
    assert perfect.error_detection.value == pytest.approx(1.0, abs=0.01)
    assert perfect.errors_in_least_confident.value == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    chance = compute_confidence_score(rng.uniform(size=200), written, written - errors, errors, draws, range(200))
    assert chance.error_detection is not None
    assert chance.errors_in_least_confident is not None
    assert chance.error_detection.low < 0.5 < chance.error_detection.high
    assert chance.errors_in_least_confident.low < 0.2 < chance.errors_in_least_confident.high
    flawless = compute_confidence_score(rng.uniform(size=200), written, written, written * 0, draws, range(200))
    assert flawless.error_detection is None
    assert flawless.errors_in_least_confident is None


def test_an_engine_without_confidence_has_no_score_and_empty_texts_are_left_out() -> None:
    utterances = make_utterances(4, 5)
    texts = [each.sentence if at else "" for at, each in enumerate(utterances)]
    pairs = list(zip(utterances, texts, strict=True))
    without = [Hypothesis(each.audio_sha256, text, 0.1, 1.0) for each, text in pairs]
    sure = [Hypothesis(each.audio_sha256, text, 0.1, 1.0, avg_logprob=-0.1) for each, text in pairs]
    comparison = compare_decoded_models(
        utterances,
        [
            DecodedModel("base", "base", "a" * 64, DecodingOptions(), without),
            DecodedModel("v1", "candidate", "b" * 64, DecodingOptions(), sure),
        ],
        TEST_SETTINGS,
        TEST_PROVENANCE,
    )
    assert comparison.models[0].confidence is None
    found = comparison.models[1].confidence
    assert found is not None
    assert found.clips == 19
    assert found.accuracy == 1.0
    assert found.confidence == pytest.approx(np.exp(-0.1), abs=1e-6)
