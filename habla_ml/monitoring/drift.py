"""When a series of weekly measurements has left its level: a sequential rule that keeps its false-alarm rate.

Looking at a series every week and testing at 5 % each time raises a false alarm within months. An e-detector does not:
each week gives an e-value, a number whose mean is at most 1 while nothing has changed, and the Shiryaev–Roberts sum
R(t) = (R(t−1) + 1) · e(t) reaches a bound c on average not before c weeks (Shin, Ramdas and Rinaldo 2023, E-detectors:
a nonparametric framework for sequential change detection). A change makes it grow by a factor a week.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from habla_ml.errors import EvaluationError

# Bets on small, middling and large changes, in standard errors; their mean is an e-value again.
_BETS: Final = (0.5, 1.0, 2.0)
_LARGEST_EVIDENCE: Final = 1e12


@dataclass(frozen=True)
class WeeklyExcess:
    """One week of a watched series."""

    week: str
    """Monday, `YYYY-MM-DD`."""
    excess: float
    """How far it lies above the tolerated level, in its standard errors."""


@dataclass(frozen=True)
class DriftState:
    """The detector after one week."""

    week: str
    evidence: float
    """R: compare with the bound; below 1 nothing speaks for a change."""
    alarm: bool


def detect_drift(weeks: Sequence[WeeklyExcess], weeks_between_false_alarms: float) -> list[DriftState]:
    """The detector's state after each week, in order; it starts anew after an alarm.

    Args:
        weeks: The series in time order. Their `excess` must be at most standard normal while nothing has changed:
            what the level itself is not known to is part of what is tolerated.
        weeks_between_false_alarms: The bound: the mean number of weeks until an alarm while nothing has changed.

    Raises:
        EvaluationError: Weeks out of order, a value that is not finite, or a bound of 1 week or less.
    """
    if not weeks_between_false_alarms > 1:
        raise EvaluationError(
            f"weeks between false alarms is {weeks_between_false_alarms}, expected more than 1; 200 is four years"
        )
    states: list[DriftState] = []
    evidence = 0.0
    for at, each in enumerate(weeks):
        if at and each.week <= weeks[at - 1].week:
            raise EvaluationError(
                f"week {each.week} comes after {weeks[at - 1].week}; pass the weeks in time order"
            )
        if not math.isfinite(each.excess):
            raise EvaluationError(
                f"week {each.week} has an excess of {each.excess}; leave weeks without speech out"
            )
        evidence = min(_LARGEST_EVIDENCE, (evidence + 1) * _compute_e_value(each.excess))
        alarm = evidence >= weeks_between_false_alarms
        states.append(DriftState(each.week, evidence, alarm))
        if alarm:
            evidence = 0.0
    return states


def _compute_e_value(excess: float) -> float:
    """Mean of exp(λz − λ²/2) over the bets: its mean is 1 for a standard normal z, and less for a lower one."""
    return sum(math.exp(min(50.0, bet * excess - bet * bet / 2)) for bet in _BETS) / len(_BETS)
