"""Acceptable bounds of single metrics."""

from __future__ import annotations

from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.tables import ThresholdStatus


def compare_with_bound(value: Interval | None, bound: float | None) -> ThresholdStatus | None:
    """Return whether the interval is below `bound`, above it, or includes it (`unsure`); None without either."""
    if value is None or bound is None:
        return None
    if value.high < bound:
        return "met"
    return "missed" if value.low >= bound else "unsure"
