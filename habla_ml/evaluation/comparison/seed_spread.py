"""The spread of the WER over trainings that differ only in their seed."""

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
    """Error rates of models that differ only in the seed of their training, on one test set.

    It does not include the uncertainty over sessions, which is the interval of each rate.
    """

    runs: tuple[SeedRun, ...]
    """The evaluated version first."""
    mean: float
    standard_deviation: float
    """Of one run, not of the mean."""
    lowest: float
    highest: float
    interval: Interval
    """Of the mean over seeds, 95 %, by Student's t."""
    seed_noise_points: float
    """Two runs with different seeds differ by less than this in 19 of 20 cases; WER points (× 100)."""


def summarise_seeds(runs: Sequence[SeedRun]) -> SeedSpread:
    """Return the spread of two or more runs.

    Two runs of standard deviation s differ by up to t s sqrt(2), where t is the quantile of Student's distribution with
    n − 1 degrees of freedom for n runs: from two or three runs, s itself is uncertain.

    Raises:
        EvaluationError: There are fewer than two runs.
    """
    if len(runs) < 2:
        raise EvaluationError(
            f"a spread needs at least two runs, got {len(runs)}; train and score a version with another seed"
        )
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
