"""A quick look at what `benchmarks/bench_calibration.py` measures with care: does 95 % mean 95 %?"""

from functools import cache

import numpy as np
import pytest

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.settings import PromotionSettings
from habla_ml_tests.testing.simulated_error_counts import (
    ErrorSimulation,
    draw_test_set,
    make_simulated_comparison,
    resample_counts,
)
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances

TRIALS = 250


@cache
def measure() -> Comparison:
    return make_comparison(make_utterances(6, 4), {"base": 0.4, "candidate": 0.2})


@cache
def shorten() -> Comparison:
    return measure().model_copy(update={"slices": (), "examples": (), "confusions": (), "dialect_features": ()})


@pytest.mark.long
@pytest.mark.parametrize("sessions", [5, 16])
def test_with_equal_models_the_interval_excludes_zero_and_the_rule_fires_no_more_than_stated(
    sessions: int,
) -> None:
    rng = np.random.default_rng(sessions)
    better = outside = deployed = 0
    for trial in range(TRIALS):
        found = resample_counts(*draw_test_set(ErrorSimulation(), sessions, (0.0,), rng), 400, trial)
        improvement = found.relative_improvement(0, 1)
        assert improvement is not None
        interval = improvement.interval()
        better += interval.low > 0
        outside += interval.low > 0 or interval.high < 0
        deployed += (
            decide(make_simulated_comparison(measure(), found, sessions), PromotionSettings()).verdict == "deploy"
        )
    assert better / TRIALS <= 0.025 + 3 * (0.025 * 0.975 / TRIALS) ** 0.5
    assert outside / TRIALS <= 0.05 + 3 * (0.05 * 0.95 / TRIALS) ** 0.5
    assert deployed <= better


@pytest.mark.parametrize("sessions", [5, 16])
def test_intervals_hold_a_planted_difference_about_as_often_as_they_say(sessions: int) -> None:
    rng = np.random.default_rng(100 + sessions)
    held = 0
    for trial in range(TRIALS):
        figure = resample_counts(
            *draw_test_set(ErrorSimulation(), sessions, (0.3,), rng), 400, trial
        ).relative_improvement(0, 1)
        assert figure is not None
        interval = figure.interval()
        held += interval.low <= 0.3 <= interval.high
    assert 0.91 <= held / TRIALS <= 0.995


def test_a_planted_halving_of_the_errors_is_released() -> None:
    rng = np.random.default_rng(7)
    deployed = 0
    for trial in range(60):
        found = resample_counts(*draw_test_set(ErrorSimulation(), 16, (0.5,), rng), 400, trial)
        deployed += decide(make_simulated_comparison(measure(), found, 16), PromotionSettings()).verdict == "deploy"
    assert deployed >= 55


def make_replacement_rates(points: float) -> tuple[float, ...]:
    """Improvements over a base of 46 % for a release of 21 % and a candidate that is better by `points`."""
    base = ErrorSimulation().base_wer
    return tuple(1 - rate / base for rate in (0.21, 0.21 - points / 100))


@pytest.mark.parametrize("sessions", [5, 16])
def test_an_equal_model_is_called_probably_better_no_more_often_than_stated(sessions: int) -> None:
    rng = np.random.default_rng(sessions)
    level, passed = 0.8, 0
    for trial in range(TRIALS):
        found = resample_counts(*draw_test_set(ErrorSimulation(), sessions, make_replacement_rates(0), rng), 400, trial)
        change = found.point_change(1, 2)
        assert change is not None
        passed += change.compute_probability_below(0.0) >= level
    assert passed / TRIALS <= 1 - level + 3 * (level * (1 - level) / TRIALS) ** 0.5
    assert passed > 0


@pytest.mark.long
def test_a_model_three_points_worse_than_the_release_is_kept_out_and_one_three_points_better_is_released() -> None:
    released = {}
    for points in (-3.0, 3.0):
        rng, released[points] = np.random.default_rng(3), 0
        for trial in range(TRIALS):
            counts = draw_test_set(ErrorSimulation(), 16, make_replacement_rates(points), rng)
            comparison = make_simulated_comparison(shorten(), resample_counts(*counts, 400, trial), 16, 2, release=1)
            released[points] += decide(comparison, PromotionSettings()).verdict == "deploy"
    assert released[-3.0] / TRIALS <= 0.02 + 3 * (0.02 * 0.98 / TRIALS) ** 0.5
    assert released[3.0] / TRIALS >= 0.5
