"""The smallest difference that a test set can show, and bounds that hold for many slices at once."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Estimate, compute_t_quantile, compute_widening

_POWER: Final = 0.8
_MOST_UNITS: Final = 5000
"""More sessions than anybody corrects for one decision."""
_ONE_SIDED_ERROR: Final = (1 - CONFIDENCE_LEVEL) / 2
"""Error probability of a one-sided bound."""


def compute_smallest_detectable(figure: Estimate | None) -> float | None:
    """Return the true difference that this test set shows as significant (5 %, two-sided) with 80 % power.

    This is (t_{0.975} + t_{0.8}) standard errors of the paired difference, with the effective sessions less one as
    degrees of freedom (Bloom, Minimum detectable effects, Evaluation Review 19 (1995), 547-556). It has the unit of the
    figure: points for `Resample.point_change`, a share for `Resample.relative_improvement`. None without a figure, and
    if all draws are equal.
    """
    if figure is None or figure.standard_error == 0:
        return None
    freedom = max(figure.units, 2.0) - 1
    quantiles = compute_t_quantile(1 - _ONE_SIDED_ERROR, freedom) + compute_t_quantile(_POWER, freedom)
    return quantiles * figure.standard_error


def compute_units_to_show(difference: float, standard_error: float, units: float, level: float) -> int | None:
    """Return the effective units that show a true `difference` at a one-sided `level` in four of five cases.

    `standard_error` was measured with `units` effective units and falls with the root of their number. Return None
    where `_MOST_UNITS` are not enough, as for no difference.
    """

    def is_shown(planned: int) -> bool:
        freedom = max(planned, 2) - 1
        quantiles = compute_t_quantile(level, freedom) + compute_t_quantile(_POWER, freedom)
        return abs(difference) >= quantiles * standard_error * math.sqrt(units / planned)

    fewest = max(2, math.ceil(units))
    found = fewest + bisect_left(range(fewest, _MOST_UNITS + 1), True, key=is_shown)
    return found if found <= _MOST_UNITS else None


def compute_simultaneous_lower_bounds(figures: Sequence[Estimate]) -> list[float]:
    """Return lower bounds that hold for all figures together with probability 97.5 %.

    Of many slices, some look worse by chance. If a slice counts as worse only when its bound is above the allowed
    change, the probability of any wrong slice is at most 2.5 %. The bound uses the quantile over draws of the worst
    studentised slice (the max statistic of Westfall and Young, Resampling-based multiple testing, 1993). Slices that
    share sessions are therefore not corrected twice. Like the intervals, the bound is widened for few sessions.

    Args:
        figures: Changes on the same draws, in the same order of draws.

    Raises:
        EvaluationError: The figures differ in the number of draws.
    """
    draw_counts = sorted({len(each.drawn) for each in figures})
    if len(draw_counts) > 1:
        raise EvaluationError(f"figures of {draw_counts} draws cannot be paired; take them from one `Draws.resample`")
    spreads = [float(np.nanstd(each.drawn)) for each in figures]
    studentised = [
        (each.drawn - each.value) / spread for each, spread in zip(figures, spreads, strict=True) if spread > 0
    ]
    if not studentised:
        return [each.value for each in figures]
    worst = np.nanmin(np.vstack([np.zeros(draw_counts[0]), *studentised]), axis=0)
    critical = -float(np.quantile(worst, _ONE_SIDED_ERROR))
    if critical <= 0:
        return [each.value for each in figures]
    level = NormalDist().cdf(critical)
    return [
        each.value - critical * compute_widening(level, each.units) * spread
        for each, spread in zip(figures, spreads, strict=True)
    ]
