"""Build a learning curve from stored evidence: models on one test set, paired by session.

A comparison stores the counts of every model in every session (or speaker, the unit of its bootstrap). The covariance
of the models' log error rates is drawn from these counts as the comparison drew its intervals, also for models of
different comparisons. Nothing is decoded and no audio is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.learning_curve import CurvePoint, LearningCurve, fit_learning_curve
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.evaluation.scoring.statistics import Counts, Draws

_MIN_UNITS = 2


@dataclass(frozen=True)
class CurveModel:
    """One model on the test set."""

    name: str
    hours: float
    """Hours of classroom speech in its training; 0 for the base."""
    counts: Mapping[str, ErrorCounts]
    """By unit of the bootstrap."""


def extract_curve_model(comparison: Comparison, name: str, hours: float) -> CurveModel:
    """Return the counts of one model of a comparison by unit.

    Raises:
        EvaluationError: The comparison has no model of that name.
    """
    names = [each.name for each in comparison.models]
    if name not in names:
        raise EvaluationError(f"{name} is not in this comparison; its models are {', '.join(names)}")
    counts = {
        part.name: rate.rate.counts
        for part in comparison.slices
        if part.dimension == comparison.method.unit
        for rate in part.rates
        if rate.model == name
    }
    return CurveModel(name, hours, counts)


def count_words_by_unit(comparison: Comparison) -> dict[str, int]:
    """Return the reference words of each unit of the bootstrap."""
    return {part.name: part.words for part in comparison.slices if part.dimension == comparison.method.unit}


def build_learning_curve(
    models: Sequence[CurveModel], draws: int, seed: int, newest: str | None = None
) -> LearningCurve | None:
    """Fit the curve through models on one test set; None if they do not determine one.

    A curve needs two amounts of speech among the models with errors (a rate of 0 has no logarithm), and a test set of
    two or more units. `draws` is the number of bootstrap draws over units. Forecasts start from `newest`, or from the
    model with the most hours if `newest` is not among the models with errors.

    Raises:
        EvaluationError: The models were not scored on the same words.
    """
    chosen = [each for each in models if sum(of.errors for of in each.counts.values())]
    if len({each.hours for each in chosen}) < 2 or len(chosen[0].counts) < _MIN_UNITS:
        return None
    units = sorted(chosen[0].counts)
    expected, *others = ({unit: of.reference_words for unit, of in each.counts.items()} for each in chosen)
    for each, found in zip(chosen[1:], others, strict=True):
        if found != expected:
            raise EvaluationError(
                f"{each.name} was scored on other words than {chosen[0].name} ({sum(found.values())} and "
                f"{sum(expected.values())}); a curve needs models on one test set"
            )
    words = np.array([expected[unit] for unit in units], dtype=np.int64)
    errors = np.array([[each.counts[unit].errors for each in chosen] for unit in units], dtype=np.int64)
    (drawn,) = Draws.of(units, draws, seed).resample([Counts(words, errors)])
    effective = max(float(drawn.units[0]), _MIN_UNITS)
    # A draw without any error counts as half an error.
    log_rates = np.log(np.maximum(drawn.drawn_errors, 0.5) / np.maximum(drawn.drawn_words, 1)[:, None])
    covariance = np.atleast_2d(np.cov(log_rates, rowvar=False)) * effective / (effective - 1)
    rates = (float(total) / drawn.words for total in drawn.errors)
    points = [CurvePoint(each.name, each.hours, rate) for each, rate in zip(chosen, rates, strict=True)]
    start = newest if any(each.name == newest for each in points) else None
    return fit_learning_curve(points, covariance, newest=start, freedom=effective - 1)
