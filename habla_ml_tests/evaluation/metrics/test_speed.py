import math

import numpy as np
import pytest

from habla_ml.evaluation.metrics.speed import LogFigure, make_cost_figure
from habla_ml.evaluation.metrics.speed_run import ModelTiming, SpeedRun
from habla_ml_tests.testing.full_comparison import make_speed_run


def compare(run: SpeedRun, share: float) -> tuple[float, float]:
    """Return the interval of the second model's quantile over the first's, as a logarithm."""
    first, second = (LogFigure.of_quantile(share, each) for each in run.models)
    found = second.minus(first).interval()
    return found.low, found.high


@pytest.mark.long
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_model_that_is_timed_twice_differs_from_itself_as_rarely_as_the_interval_promises(share: float) -> None:
    """Its rounds differ by 10 % together and by 5 % alone; an interval over clips only would exclude 0 far more often."""
    intervals = [compare(make_speed_run(["v1", "again"], seed=seed), share) for seed in range(150)]
    differing = sum(low > 0 or high < 0 for low, high in intervals)
    assert differing <= 14  # the 97.7 % quantile of 150 tests at 5 % is 13


def test_a_model_that_takes_twice_as_long_is_slower() -> None:
    found = [compare(make_speed_run(["v1", "slow"], slower=2.0, seed=seed), 0.5) for seed in range(40)]
    assert sum(low > 0 for low, _ in found) >= 38
    assert np.mean([(low + high) / 2 for low, high in found]) == pytest.approx(math.log(2), abs=0.05)


def test_quantile_and_cost_have_the_value_of_the_rounds_and_their_spread() -> None:
    timing = ModelTiming(model="v1", factors=((0.1, 0.2, 0.4), (0.2, 0.4, 0.8)), throughput=(5.0, 20.0))
    median = LogFigure.of_quantile(0.5, timing).to_positive_interval()
    assert median.value == pytest.approx(math.sqrt(0.2 * 0.4))
    assert median.low < 0.2 < 0.4 < median.high
    cost = make_cost_figure(0.5, timing).to_positive_interval()
    assert cost.value == pytest.approx(0.5 / 10), "the price of an hour over the geometric mean of the throughput"
    assert cost.low < 0.5 / 20 < 0.5 / 5 < cost.high
