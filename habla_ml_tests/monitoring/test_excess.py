"""What the detector is given, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from habla_ml.evaluation.scoring.statistics import compute_t_quantile
from habla_ml.monitoring.excess import (
    LARGEST_EXCESS,
    ReferenceLevel,
    WeeklyMeasurement,
    compute_excesses,
    estimate_weekly_spread,
)
from habla_ml_tests.testing.simulated_drift import ALARM_BOUND, ErrorRateSimulation

LEVEL = ReferenceLevel(value=1.0, standard_error=0.05, tolerance=0.2)


def test_an_excess_equals_a_calculation_by_hand():
    week = WeeklyMeasurement("2026-02-02", 1.5, 0.3, 4.0)
    (found,) = compute_excesses([week], LEVEL, floor=0.1)
    widened = 0.3 * compute_t_quantile(0.975, 3.0) / 1.959964
    assert found.excess == pytest.approx((1.5 - 1.0 - 0.2) / math.hypot(widened, 0.1))
    (fall,) = compute_excesses([week], LEVEL, floor=0.1, side=-1)
    assert fall.excess == pytest.approx((1.0 - 1.5 - 0.2) / math.hypot(widened, 0.1))


def test_an_uncertain_level_widens_the_tolerance_to_its_standard_error():
    assert ReferenceLevel(1.0, 0.05, 0.2).allowance == 0.2
    assert ReferenceLevel(1.0, 0.30, 0.2).allowance == 0.3


def test_the_variance_of_sessions_is_pooled_over_samples_and_earlier_weeks():
    week = WeeklyMeasurement("2026-02-09", 1.5, 0.3, 3.0)
    alone = compute_excesses([week], LEVEL, 0.1)[0].excess
    calm = WeeklyMeasurement("", 1.0, 0.05, 30.0)
    assert compute_excesses([week], LEVEL, 0.1, samples=[calm])[0].excess > alone
    variance = (0.3**2 * 3 * 2 + 0.05**2 * 30 * 29) / 31
    error = math.sqrt(variance / 3) * compute_t_quantile(0.975, 31) / 1.959964
    by_hand = 0.3 / math.hypot(error, 0.1)
    assert compute_excesses([week], LEVEL, 0.1, samples=[calm])[0].excess == pytest.approx(by_hand)


def test_the_weekly_spread_exceeds_its_floor_only_for_weeks_that_vary_more_than_their_sessions():
    wild = [WeeklyMeasurement(f"2026-02-{at:02d}", 1.0 + at % 2, 0.0, 10.0) for at in range(1, 9)]
    # seven differences of 1 each and four of the floor's size
    assert estimate_weekly_spread(wild, 0.1) == pytest.approx(math.sqrt((4 * 0.01 + 7 * 0.5) / 11))
    calm = [WeeklyMeasurement(f"2026-02-{at:02d}", 1.0, 0.2, 10.0) for at in range(1, 9)]
    assert estimate_weekly_spread(calm, 0.1) == 0.1
    assert estimate_weekly_spread([], 0.1) == 0.1


def test_a_single_week_raises_no_alarm():
    weeks = [WeeklyMeasurement("2026-02-02", 50.0, 0.01, 10.0), WeeklyMeasurement("2026-02-09", 60.0, 0.01, 10.0)]
    first, second = compute_excesses(weeks, LEVEL, 0.1)
    assert first.excess == LARGEST_EXCESS
    e_value = sum(math.exp(bet * LARGEST_EXCESS - bet**2 / 2) for bet in (0.5, 1.0, 2.0)) / 3
    assert e_value < ALARM_BOUND < e_value * (e_value + 1)
    assert second.excess > 0


def test_later_weeks_do_not_change_earlier_excesses():
    random = np.random.default_rng(2)
    weeks = [WeeklyMeasurement(f"{at:05d}", float(random.normal()), 0.2, 5.0) for at in range(12)]
    assert compute_excesses(weeks, LEVEL, 0.1)[:6] == compute_excesses(weeks[:6], LEVEL, 0.1)


@pytest.mark.long
@pytest.mark.parametrize(
    "simulation",
    [
        ErrorRateSimulation(),
        ErrorRateSimulation(fewest_sessions=2, most_sessions=4, test_sessions=8),
        ErrorRateSimulation(0.5, 0.15, 3, 10, 10),
    ],
    ids=["a school", "few sessions", "wild sessions"],
)
def test_the_false_alarm_rate_of_simulated_weeks_is_at_most_the_bound(simulation):
    random = np.random.default_rng(11)
    states = [state for _ in range(30) for state in simulation.simulate_detector(random, 100, 100, 1.0)]
    assert sum(state.alarm for state in states) <= len(states) / ALARM_BOUND


def test_fifty_percent_more_errors_are_detected_within_weeks():
    random = np.random.default_rng(12)
    waits = []
    for _ in range(40):
        states = ErrorRateSimulation().simulate_detector(random, 34, 8, 1.5)
        waits.append(next((at - 7 for at, state in enumerate(states) if at >= 8 and state.alarm), 99))
    assert np.median(waits) <= 9
    assert np.mean(np.array(waits) <= 16) >= 0.75


def test_doubled_errors_are_detected_within_three_weeks():
    random = np.random.default_rng(13)
    waits = []
    for _ in range(30):
        states = ErrorRateSimulation().simulate_detector(random, 20, 8, 2.0)
        waits.append(next((at - 7 for at, state in enumerate(states) if at >= 8 and state.alarm), 99))
    assert np.median(waits) <= 3
