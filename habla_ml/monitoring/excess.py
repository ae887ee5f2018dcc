"""How far each week of a series is beyond the tolerance, in standard errors: the input of `drift.detect_drift`.

A week differs from the level for three reasons, and each is allowed for once:

- A week has few sessions. Sessions vary about as much in one week as in another, so their variance is pooled over the
  sample of the level and the weeks up to the tested one, and divided by the effective number of sessions. A variance
  from few sessions is widened by Student's t over the normal quantile.
- Weeks differ by more than their sessions explain: a topic, a microphone, a substitute teacher. The spread between
  weeks is estimated before the tested week, from the differences of consecutive weeks minus what their sessions
  explain; a lasting change affects one difference only. Four differences of the size of the floor are added as a
  prior, because a few calm weeks do not prove calm.
- The level is estimated from a sample. This error is the same in all weeks and does not average out, so it is part of
  the tolerance: a series must exceed the tolerance, or one standard error of the level if that is larger.

The excess of a week does not change with later weeks. It is capped at `LARGEST_EXCESS`, which only lowers the e-value:
small samples have heavy tails, and at the default bound no single week is an alarm.

All of this is approximate for few sessions; `habla_ml_tests/monitoring/test_excess.py` simulates it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final

from habla_ml.evaluation.scoring.statistics import compute_t_quantile
from habla_ml.monitoring.drift import WeeklyExcess

LARGEST_EXCESS: Final = 3.5

_PRIOR_PAIRS: Final = 4
_FEWEST_EFFECTIVE_SESSIONS: Final = 2.0


@dataclass(frozen=True)
class WeeklyMeasurement:
    """One week's value (the logarithm of an error rate, a mean or a share); stored in the record of a release."""

    week: str
    """Monday, `YYYY-MM-DD`."""
    value: float
    standard_error: float
    units: float
    """Effective number of sessions."""


@dataclass(frozen=True)
class ReferenceLevel:
    """The level that a series is compared with."""

    value: float
    standard_error: float
    tolerance: float
    """Largest irrelevant change, in the units of the value."""

    @property
    def allowance(self) -> float:
        """Largest distance from the value that counts as no change."""
        return max(self.tolerance, self.standard_error)


def compute_excesses(
    weeks: Sequence[WeeklyMeasurement],
    level: ReferenceLevel,
    floor: float,
    side: int = 1,
    samples: Sequence[WeeklyMeasurement] = (),
    before: Sequence[WeeklyMeasurement] = (),
) -> list[WeeklyExcess]:
    """Return the excess of each week, in order.

    Args:
        weeks: The weeks to test, in time order.
        level: The level of the series without a change.
        floor: The least assumed spread between weeks, in the units of the value; above 0.
        side: 1 for a rise, −1 for a fall.
        samples: Other samples of sessions, used for the variance of sessions.
        before: Earlier weeks, used for the variance of sessions and of weeks.
    """
    known = [*before, *weeks]
    found = []
    for at, each in enumerate(weeks, start=len(before)):
        scatter = _SessionVariance.of([*samples, *known[: at + 1]])
        beyond = side * (each.value - level.value) - level.allowance
        error = math.hypot(
            scatter.standard_error_of(each) * scatter.small_sample_factor,
            _pool_weekly_spread(known[:at], scatter, floor),
        )
        found.append(WeeklyExcess(each.week, min(LARGEST_EXCESS, beyond / error)))
    return found


def estimate_weekly_spread(weeks: Sequence[WeeklyMeasurement], floor: float) -> float:
    """Return the standard deviation between weeks beyond what their sessions explain; at least `floor`."""
    return _pool_weekly_spread(weeks, _SessionVariance.of(weeks), floor) if weeks else floor


@dataclass(frozen=True)
class _SessionVariance:
    """The variance of sessions."""

    variance: float
    """Of one session."""
    degrees_of_freedom: float

    @classmethod
    def of(cls, samples: Sequence[WeeklyMeasurement]) -> _SessionVariance:
        """Pool the variance over samples with at least one session each."""
        units = [max(each.units, _FEWEST_EFFECTIVE_SESSIONS) for each in samples]
        degrees_of_freedom = sum(units) - len(units)
        weighted = (each.standard_error**2 * n * (n - 1) for each, n in zip(samples, units, strict=True))
        return cls(sum(weighted) / degrees_of_freedom, degrees_of_freedom)

    @property
    def small_sample_factor(self) -> float:
        return compute_t_quantile(0.975, max(1.0, self.degrees_of_freedom)) / NormalDist().inv_cdf(0.975)

    def standard_error_of(self, sample: WeeklyMeasurement) -> float:
        return math.sqrt(self.variance / max(sample.units, _FEWEST_EFFECTIVE_SESSIONS))


def _pool_weekly_spread(weeks: Sequence[WeeklyMeasurement], scatter: _SessionVariance, floor: float) -> float:
    surplus = _PRIOR_PAIRS * floor**2
    for one, two in pairwise(weeks):
        explained = scatter.standard_error_of(one) ** 2 + scatter.standard_error_of(two) ** 2
        surplus += ((two.value - one.value) ** 2 - explained) / 2
    return math.sqrt(max(floor**2, surplus / (_PRIOR_PAIRS + max(0, len(weeks) - 1))))
