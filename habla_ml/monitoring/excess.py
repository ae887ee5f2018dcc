"""How far each week of a series lies beyond what is tolerated, in standard errors: what `drift.detect_drift` bets on.

A week's figure differs from the level for three reasons, and each is allowed for once:

- Few sessions were heard. Sessions scatter about as much in one week as in another, so their variance is pooled over
  the level's own sample and the weeks up to the one that is judged, and divided by its effective number of sessions; a
  variance known from few sessions is widened by Student's t over the normal quantile.
- Weeks differ by more than their sessions tell: a topic, a microphone, a substitute teacher. The spread between weeks
  is estimated from the differences of weeks that follow each other, less what their sessions explain (a lasting change
  moves one difference only), from the weeks before the one that is judged. Four differences of the size of the floor
  are taken as seen already: a few calm weeks do not prove calm.
- The level is known from a sample. That error is the same in all weeks and does not average out, so it is part of what
  is tolerated: a series must exceed the tolerance, or one standard error of the level where that is more.

What was said of a week does not change with later ones. No week is believed beyond `LARGEST_EXCESS`, which only lowers its
e-value: tails of small samples are heavy, and at the default bound no week alone is an alarm.

Nothing of this is exact for few sessions; `habla_ml_tests/monitoring/test_excess.py` simulates it.
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

_TWO_SIDED_QUANTILE: Final = 0.975
_PRIOR_PAIRS: Final = 4
_FEWEST_EFFECTIVE_SESSIONS: Final = 2.0


@dataclass(frozen=True)
class WeeklyMeasurement:
    """One week's figure: the logarithm of an error rate, a mean, a share."""

    week: str
    """Monday, `YYYY-MM-DD`."""
    value: float
    standard_error: float
    """Over the week's sessions."""
    units: float
    """Effective number of sessions."""


@dataclass(frozen=True)
class ReferenceLevel:
    """What the series is compared with."""

    value: float
    standard_error: float
    tolerance: float
    """A change that matters to nobody, in the units of the value."""

    @property
    def allowance(self) -> float:
        """How far from the value nothing has happened yet."""
        return max(self.tolerance, self.standard_error)


def compute_excesses(
    weeks: Sequence[WeeklyMeasurement],
    level: ReferenceLevel,
    floor: float,
    side: int = 1,
    samples: Sequence[WeeklyMeasurement] = (),
    before: Sequence[WeeklyMeasurement] = (),
) -> list[WeeklyExcess]:
    """Each week's excess, in order.

    Args:
        weeks: The weeks to judge, in time order.
        level: Where the series lies while nothing has changed.
        floor: The least spread between weeks that is assumed, in the units of the value; above 0.
        side: 1 where a rise is looked for, −1 for a fall.
        samples: Other samples of sessions, which tell how much sessions scatter.
        before: Earlier weeks, which tell that too, and how much weeks do.
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
    """Standard deviation between weeks beyond what their sessions explain; at least `floor`."""
    return _pool_weekly_spread(weeks, _SessionVariance.of(weeks), floor) if weeks else floor


@dataclass(frozen=True)
class _SessionVariance:
    """How much sessions scatter."""

    variance: float
    """Of one session."""
    degrees_of_freedom: float

    @classmethod
    def of(cls, samples: Sequence[WeeklyMeasurement]) -> _SessionVariance:
        """Pooled over samples that hold at least one session each."""
        freedoms = [max(each.units, _FEWEST_EFFECTIVE_SESSIONS) - 1 for each in samples]
        variances = [each.standard_error**2 * max(each.units, _FEWEST_EFFECTIVE_SESSIONS) for each in samples]
        degrees_of_freedom = sum(freedoms)
        pooled = sum(one * other for one, other in zip(variances, freedoms, strict=True)) / degrees_of_freedom
        return cls(pooled, degrees_of_freedom)

    @property
    def small_sample_factor(self) -> float:
        return compute_t_quantile(_TWO_SIDED_QUANTILE, max(1.0, self.degrees_of_freedom)) / NormalDist().inv_cdf(
            _TWO_SIDED_QUANTILE
        )

    def standard_error_of(self, sample: WeeklyMeasurement) -> float:
        return math.sqrt(self.variance / max(sample.units, _FEWEST_EFFECTIVE_SESSIONS))


def _pool_weekly_spread(weeks: Sequence[WeeklyMeasurement], scatter: _SessionVariance, floor: float) -> float:
    surplus = _PRIOR_PAIRS * floor**2
    for one, two in pairwise(weeks):
        explained = scatter.standard_error_of(one) ** 2 + scatter.standard_error_of(two) ** 2
        surplus += ((two.value - one.value) ** 2 - explained) / 2
    return math.sqrt(max(floor**2, surplus / (_PRIOR_PAIRS + max(0, len(weeks) - 1))))
