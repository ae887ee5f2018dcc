"""A quick look at what `benchmarks/bench_calibration.py` measures with care: does 95 % mean 95 %?"""

import numpy as np
import pytest

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
MEASURED = make_comparison(make_utterances(6, 4), {"base": 0.4, "candidate": 0.2})


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
            decide(make_simulated_comparison(MEASURED, found, sessions), PromotionSettings()).verdict == "deploy"
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
        deployed += decide(make_simulated_comparison(MEASURED, found, 16), PromotionSettings()).verdict == "deploy"
    assert deployed >= 55
