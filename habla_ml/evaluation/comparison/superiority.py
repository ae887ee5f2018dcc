"""How probable it is that one model makes fewer word errors than another."""

from __future__ import annotations

import math
from typing import Final

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.statistics import Estimate

_NEARLY_NEVER: Final = 0.01


class Superiority(EvaluationRecord):
    """The strength of the evidence that one model is better than another, from the draws of the comparison."""

    probability: float
    """Share of the bootstrap draws with a lower WER, corrected for few sessions as the intervals are."""
    standard_error_points: float
    """Of the difference of the WER, in points."""
    effective_units: float
    """Sessions or speakers, weighted by their words: one session with 98 % of the words counts as one."""

    @property
    def probability_text(self) -> str:
        """The probability with two digits, rounded down, so that it never shows a bound that it does not reach."""
        if self.probability < _NEARLY_NEVER:
            return f"below {_NEARLY_NEVER:.2f}"
        if self.probability > 1 - _NEARLY_NEVER:
            return f"above {1 - _NEARLY_NEVER:.2f}"
        return f"{math.floor(100 * self.probability) / 100:.2f}"


def measure_superiority(change: Estimate | None) -> Superiority | None:
    """Return the evidence from the change of the WER in points; None without words."""
    if change is None:
        return None
    return Superiority(
        probability=change.compute_probability_below(0.0),
        standard_error_points=change.standard_error,
        effective_units=change.units,
    )
