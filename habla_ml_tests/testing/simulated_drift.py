"""Simulated weeks with a known error rate, with variance between sessions and between weeks, and a test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.evaluation.scoring.statistics import Counts, Draws
from habla_ml.monitoring.drift import WeeklyDrift, detect_drift
from habla_ml.monitoring.excess import ReferenceLevel, WeeklyMeasurement, compute_excesses
from habla_ml.monitoring.quality import compute_log_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALARM_BOUND = 200.0
TOLERATED_INCREASE = 0.15


@dataclass(frozen=True)
class ErrorRateSimulation:
    """Spreads as standard deviations of the logarithm of the error rate."""

    between_sessions: float = 0.35
    between_weeks: float = 0.1
    fewest_sessions: int = 5
    most_sessions: int = 20
    """In a week."""
    test_sessions: int = 15
    error_rate: float = 0.2

    def measure_week(self, random: np.random.Generator, week: str, sessions: int, rate: float) -> WeeklyMeasurement:
        """Measure a week with random words and rates of its sessions."""
        words = np.maximum(20, random.lognormal(math.log(90), 0.5, sessions)).astype(np.int64)
        rates = _draw_rates(random, rate, self.between_sessions, sessions)
        errors: NDArray[np.int64] = random.poisson(words * rates)[:, None]
        (resample,) = Draws.of([str(at) for at in range(sessions)], 200, 1).resample([Counts(words, errors)])
        value, error = compute_log_rate(resample)
        return WeeklyMeasurement(week, value, error, float(resample.units[0]))

    def simulate_detector(
        self, random: np.random.Generator, weeks: int, rises_at: int, by: float
    ) -> tuple[WeeklyDrift, ...]:
        """Run the detector over `weeks`; from week `rises_at` on the error rate is multiplied by `by`."""
        test = self.measure_week(random, "", self.test_sessions, self.error_rate)
        series = []
        for at in range(weeks):
            sessions = int(random.integers(self.fewest_sessions, self.most_sessions + 1))
            rate = float(_draw_rates(random, self.error_rate, self.between_weeks, 1)[0]) * (by if at >= rises_at else 1)
            series.append(self.measure_week(random, f"{at:05d}", sessions, rate))
        level = ReferenceLevel(test.value, test.standard_error, math.log1p(TOLERATED_INCREASE))
        return detect_drift(compute_excesses(series, level, 0.1, samples=[test]), ALARM_BOUND)


def _draw_rates(random: np.random.Generator, rate: float, spread: float, count: int) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = rate * np.exp(random.normal(-(spread**2) / 2, spread, count))
    return drawn
