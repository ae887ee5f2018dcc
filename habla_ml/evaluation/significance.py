"""What may be concluded from figures: the smallest difference a test set can show, seeds, and many slices at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, stdev
from typing import Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.statistics import CONFIDENCE, Figure, Interval, t_quantile, widening

POWER: Final = 0.8
ONE_SIDED: Final = (1 - CONFIDENCE) / 2
"""The share of null comparisons in which a bound on one side is allowed to be wrong."""


@dataclass(frozen=True)
class SeedSpread:
    """Error rates of models that differ by nothing but the seed of their training."""

    seeds: int
    mean: float
    standard_deviation: float | None
    """Of one seed, not of the mean; None for a single seed."""
    lowest: float
    highest: float
    interval: Interval | None
    """Of the mean over seeds, 95 %, by Student's t; None for a single seed."""


def smallest_detectable(figure: Figure | None, power: float = POWER) -> float | None:
    """The true difference that would be told from none with `power`, at 5 % two-sided, on this test set.

    (t_{0.975} + t_{power}) standard errors of the paired difference, with the effective sessions less one as degrees
    of freedom: the usual sum of quantiles (Bloom, Minimum detectable effects, Evaluation Review 19 (1995),
    547-556). In the unit of the figure: points for `Resample.point_change`, a share of the errors for
    `Resample.relative_improvement`. None without a figure, and where no draw differs from another.
    """
    if figure is None or figure.standard_error == 0:
        return None
    freedom = max(figure.units, 2.0) - 1
    return (t_quantile(1 - ONE_SIDED, freedom) + t_quantile(power, freedom)) * figure.standard_error


def seed_spread(rates: Sequence[float]) -> SeedSpread:
    """How far the rates of the seeds of one recipe lie apart, on one test set.

    A difference between two recipes that is smaller than this is no property of a recipe. The sessions' share of
    the uncertainty is not in it: that is the interval of each rate.

    Raises:
        EvaluationError: There is no rate.
    """
    if not rates:
        raise EvaluationError("there is no seed to describe; pass the rate of at least one trained model")
    average = mean(rates)
    if len(rates) == 1:
        return SeedSpread(1, average, None, average, average, None)
    deviation = stdev(rates)
    half = t_quantile(1 - ONE_SIDED, len(rates) - 1) * deviation / math.sqrt(len(rates))
    return SeedSpread(
        seeds=len(rates),
        mean=average,
        standard_deviation=deviation,
        lowest=min(rates),
        highest=max(rates),
        interval=Interval(max(0.0, average - half), average, average + half),
    )


def simultaneous_lower_bounds(figures: Sequence[Figure], error: float = ONE_SIDED) -> list[float]:
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
        each.value - critical * widening(level, each.units) * float(np.nanstd(each.drawn))
        if critical > 0 and np.nanstd(each.drawn) > 0
        else each.value
        for each in figures
    ]
