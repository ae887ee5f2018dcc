"""The level that weeks are compared with: the release's error rate on its own test set."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from habla_ml.monitoring.quality import measure_test_set
from habla_ml_tests.testing.simulated_hypotheses import TEST_SETTINGS, make_comparison, make_utterances

SETTINGS = TEST_SETTINGS.model_copy(update={"bootstrap_draws": 4000})


def test_a_test_set_with_one_large_session_has_the_error_of_few_sessions() -> None:
    large = [replace(each, session_id="large") for each in make_utterances(1, 90, seed=1)]
    comparison = make_comparison(
        [*large, *make_utterances(9, 6, seed=2)], {"base": 0.4, "candidate": 0.3}, None, SETTINGS
    )
    rate, level = measure_test_set(comparison)
    counts = [each.rates[1].rate.counts for each in comparison.slices if each.dimension == "session"]
    words, errors = (np.array([getattr(each, name) for each in counts]) for name in ("reference_words", "errors"))
    effective = words.sum() ** 2 / (words**2).sum()
    assert level.units == pytest.approx(effective)
    assert effective < 3
    drawn = np.random.default_rng(7).integers(len(words), size=(4000, len(words)))
    logs = np.log((errors[drawn].sum(axis=1) + 0.5) / words[drawn].sum(axis=1))
    assert level.standard_error == pytest.approx(logs.std() * math.sqrt(effective / (effective - 1)), rel=0.06)
    assert (rate.value, math.exp(level.value)) == pytest.approx((errors.sum() / words.sum(),) * 2)


def test_a_test_set_of_one_session_has_the_error_over_its_sentences() -> None:
    comparison = make_comparison(make_utterances(1, 60), {"base": 0.4, "candidate": 0.3}, None, SETTINGS)
    rate, level = measure_test_set(comparison)
    assert rate.interval is not None
    ratio = math.log(rate.interval.high / rate.interval.value)
    assert level.standard_error == pytest.approx(ratio / scipy.stats.t.ppf(0.975, 59))
