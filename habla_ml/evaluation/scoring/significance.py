"""What may be concluded from figures: the smallest difference a test set can show, and many slices at once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Estimate, compute_t_quantile, compute_widening

POWER: Final = 0.8
ONE_SIDED_ERROR: Final = (1 - CONFIDENCE_LEVEL) / 2
"""The share of null comparisons in which a bound on one side is allowed to be wrong."""


def compute_smallest_detectable(figure: Estimate | None, power: float = POWER) -> float | None:
    """The true difference that would be told from none with `power`, at 5 % two-sided, on this test set.

    (t_{0.975} + t_{power}) standard errors of the paired difference, with the effective sessions less one as degrees
    of freedom: the usual sum of quantiles (Bloom, Minimum detectable effects, Evaluation Review 19 (1995),
    547-556). In the unit of the figure: points for `Resample.point_change`, a share of the errors for
    `Resample.relative_improvement`. None without a figure, and where no draw differs from another.
    """
    if figure is None or figure.standard_error == 0:
        return None
    freedom = max(figure.units, 2.0) - 1
    return (
        compute_t_quantile(1 - ONE_SIDED_ERROR, freedom) + compute_t_quantile(power, freedom)
    ) * figure.standard_error


def compute_simultaneous_lower_bounds(figures: Sequence[Estimate], error: float = ONE_SIDED_ERROR) -> list[float]:
    """Lower bounds that hold for all figures together with probability 1 - `error`.

    Of many slices some look worse by chance. A slice whose bound of `Resample.point_change` is above what is allowed
    has become worse beyond it, whichever slices were looked at: the chance that any slice is named wrongly is at
    most `error`. The bound is the quantile over draws of the worst studentised slice (the max statistic of Westfall
    and Young, Resampling-based multiple testing, 1993), so that slices which share their sessions are not paid for
    twice, widened for few sessions as the intervals are.

    Args:
        figures: On the same draws, in the same order of draws.
        error: Allowed share of families with any wrong bound.

    Raises:
        EvaluationError: The figures have other numbers of draws.
    """
    if len({len(each.drawn) for each in figures}) > 1:
        counts = sorted({len(each.drawn) for each in figures})
        raise EvaluationError(f"figures of {counts} draws cannot be paired; take them from one `Draws.resample`")
    moving = [each for each in figures if np.nanstd(each.drawn) > 0]
    if not moving:
        return [each.value for each in figures]
    deviations = [(each.drawn - each.value) / np.nanstd(each.drawn) for each in moving]
    worst = np.nanmin(np.vstack([np.zeros(len(moving[0].drawn)), *deviations]), axis=0)
    critical = -float(np.quantile(worst, error))
    level = NormalDist().cdf(critical)
    return [
        each.value - critical * compute_widening(level, each.units) * float(np.nanstd(each.drawn))
        if critical > 0 and np.nanstd(each.drawn) > 0
        else each.value
        for each in figures
    ]
