"""The detector on series with a known change."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.monitoring.drift import WeeklyExcess, detect_drift


def series(values: list[float]) -> list[WeeklyExcess]:
    return [WeeklyExcess(f"2026-{at // 28 + 1:02d}-{at % 28 + 1:02d}", value) for at, value in enumerate(values)]


def weeks_until_alarm(
    random: np.random.Generator, shift: float, bound: float, most: int, correlation: float = 0.0
) -> int:
    values = [random.normal()]
    for new in random.normal(size=most - 1):
        values.append(correlation * values[-1] + np.sqrt(1 - correlation**2) * new)
    weeks = [WeeklyExcess(f"{at:05d}", float(value + shift)) for at, value in enumerate(values)]
    return next((at + 1 for at, state in enumerate(detect_drift(weeks, bound)) if state.alarm), most)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("bound", [50, 200])
def test_the_false_alarm_rate_is_at_most_the_bound(correlation: float, bound: int) -> None:
    random = np.random.default_rng(3)
    # Runs are cut at 6 times the bound, so their mean is an underestimate, which is conservative.
    found = np.mean([weeks_until_alarm(random, 0.0, bound, 6 * bound, correlation) for _ in range(120)])
    assert found >= bound


def test_a_change_of_two_standard_errors_is_detected_within_weeks() -> None:
    random = np.random.default_rng(4)
    assert np.median([weeks_until_alarm(random, 2.0, 200, 100) for _ in range(100)]) <= 6
    assert np.median([weeks_until_alarm(random, 1.0, 200, 200) for _ in range(100)]) <= 18


def test_an_improvement_raises_no_alarm() -> None:
    assert not any(state.alarm for state in detect_drift(series([-2.0] * 50), 2))


def test_the_evidence_equals_a_calculation_by_hand() -> None:
    # With a bound of 100 weeks an excess of 1 counts as 0.88, because neighbouring weeks are alike.
    e = (np.exp(0.44 - 0.125) + np.exp(0.88 - 0.5) + np.exp(1.76 - 2.0)) / 3
    first, second = detect_drift(series([1.0, 1.0]), 100)
    assert first.evidence == pytest.approx(e)
    assert second.evidence == pytest.approx((e + 1) * e)


def test_the_detector_restarts_after_an_alarm() -> None:
    first, second = detect_drift(series([6.0, 0.0]), 100)
    assert first.alarm
    assert second.evidence < 2


def test_faulty_input_is_refused() -> None:
    with pytest.raises(EvaluationError, match="time order"):
        detect_drift([WeeklyExcess("2026-02-02", 0), WeeklyExcess("2026-01-26", 0)], 100)
    with pytest.raises(EvaluationError, match="more than 1"):
        detect_drift([], 1)
    with pytest.raises(EvaluationError, match="nan"):
        detect_drift(series([float("nan")]), 100)
