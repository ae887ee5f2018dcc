"""How far the seeds of one training lie apart: which difference between versions says anything of data or recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Interval, compute_t_quantile


class SeedRun(EvaluationRecord):
    """One training."""

    version: str
    wer: float


class SeedSpread(EvaluationRecord):
    """Error rates of models that differ by nothing but the seed of their training, on one test set.

    The sessions' share of the uncertainty is not in it: that is the interval of each rate.
    """

    runs: tuple[SeedRun, ...]
    """The version that is looked at first."""
    mean: float
    standard_deviation: float
    """Of one run, not of the mean."""
    lowest: float
    highest: float
    interval: Interval
    """Of the mean over seeds, 95 %, by Student's t."""
    seed_noise_points: float
    """Two runs, each with a seed of its own, differ by less than this in 19 of 20 cases; points of the WER (x 100)."""


def summarise_seeds(runs: Sequence[SeedRun]) -> SeedSpread:
    """The spread of two runs or more.

    Two runs of standard deviation s differ by up to t s sqrt(2), with the quantile t of Student's distribution for as
    many degrees of freedom as there are runs less one: of two or three runs s is itself hardly known.

    Raises:
        EvaluationError: There are fewer than two runs.
    """
    if len(runs) < 2:
        raise EvaluationError(f"{len(runs)} runs have no spread; train and score a version with another seed")
    rates = [each.wer for each in runs]
    average, deviation = mean(rates), stdev(rates)
    quantile = compute_t_quantile((1 + CONFIDENCE_LEVEL) / 2, len(rates) - 1)
    half = quantile * deviation / math.sqrt(len(rates))
    return SeedSpread(
        runs=tuple(runs),
        mean=average,
        standard_deviation=deviation,
        lowest=min(rates),
        highest=max(rates),
        interval=Interval(max(0.0, average - half), average, average + half),
        seed_noise_points=100 * quantile * deviation * math.sqrt(2),
    )
