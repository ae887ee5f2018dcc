"""Detection of drift in a weekly series by a sequential rule with a fixed false-alarm rate.

A test at 5 % every week raises a false alarm within months. An e-detector does not. Each week gives an e-value: a
number with a mean of at most 1 without a change. The Shiryaev–Roberts sum R(t) = (R(t−1) + 1) · e(t) then reaches a
bound c after c weeks or later on average (Shin, Ramdas and Rinaldo 2023, E-detectors: a nonparametric framework for
sequential change detection). After a change it grows by a factor every week.

Neighbouring weeks are alike: a topic or a substitute teacher lasts longer than a week. A detector for independent weeks
then raises false alarms too often, with a correlation of 0.5 after 96 weeks instead of 200. The excess is therefore
multiplied by a factor before it becomes an e-value, so that the mean run length of autoregressive weeks with that
correlation is the bound (`_DEPENDENCE_FACTORS`). Weaker correlation gives longer runs, for a bound of 200 about 2,900
weeks without correlation. A correlation of 0.7 gives 129.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from habla_ml.errors import EvaluationError

# Bets on small, medium and large changes, in standard errors; their mean is again an e-value.
_BETS: Final = (0.5, 1.0, 2.0)
_LARGEST_EVIDENCE: Final = 1e12
_DEPENDENCE_FACTORS: Final = (
    (20.0, 1.0),
    (50.0, 0.97),
    (100.0, 0.88),
    (200.0, 0.83),
    (500.0, 0.78),
    (1000.0, 0.76),
    (2000.0, 0.75),
)
"""Bound in weeks → the factor that gives this mean run length at a correlation of 0.5, by simulation."""


@dataclass(frozen=True)
class WeeklyExcess:
    """One week of a monitored series."""

    week: str
    """Monday, `YYYY-MM-DD`."""
    excess: float
    """Distance above the tolerated level, in standard errors."""


@dataclass(frozen=True)
class WeeklyDrift:
    """The detector after one week; stored in the record of a release."""

    week: str
    excess: float
    evidence: float
    """R, to compare with the bound; a value below 1 is no evidence of a change."""
    alarm: bool


def detect_drift(weeks: Sequence[WeeklyExcess], weeks_between_false_alarms: float) -> tuple[WeeklyDrift, ...]:
    """Return the detector's state after each week; it restarts after an alarm.

    Args:
        weeks: The series in time order. Without a change its `excess` must be at most standard normal, so the
            tolerance must include the uncertainty of the level. Neighbouring weeks may have a correlation of up to 0.5.
        weeks_between_false_alarms: The bound: the mean number of weeks until an alarm without a change.

    Raises:
        EvaluationError: Weeks out of order, a value that is not finite, or a bound of 1 week or less.
    """
    if not weeks_between_false_alarms > 1:
        raise EvaluationError(
            f"weeks between false alarms is {weeks_between_false_alarms}, expected more than 1; 200 is four years"
        )
    factor = _find_dependence_factor(weeks_between_false_alarms)
    states: list[WeeklyDrift] = []
    evidence = 0.0
    for at, each in enumerate(weeks):
        if at and each.week <= weeks[at - 1].week:
            raise EvaluationError(f"week {each.week} follows {weeks[at - 1].week}; pass the weeks in time order")
        if not math.isfinite(each.excess):
            raise EvaluationError(
                f"week {each.week} has an excess of {each.excess}, expected a finite number; leave out weeks without speech"
            )
        evidence = min(_LARGEST_EVIDENCE, (evidence + 1) * _compute_e_value(factor * each.excess))
        alarm = evidence >= weeks_between_false_alarms
        states.append(WeeklyDrift(each.week, each.excess, evidence, alarm))
        if alarm:
            evidence = 0.0
    return tuple(states)


def _find_dependence_factor(bound: float) -> float:
    """Interpolate the factors over the logarithm of the bound."""
    bounds, factors = zip(*_DEPENDENCE_FACTORS, strict=True)
    return float(np.interp(math.log(bound), np.log(bounds), factors))


def _compute_e_value(excess: float) -> float:
    """Return the mean of exp(λz − λ²/2) over the bets; its expectation is 1 for a standard normal z, less for a lower z."""
    return sum(math.exp(min(50.0, bet * excess - bet * bet / 2)) for bet in _BETS) / len(_BETS)
