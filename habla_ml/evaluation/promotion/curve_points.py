"""From stored evidence to a learning curve: models on one test set, paired unit by unit.

A comparison keeps the counts of every model in every session (or speaker: the unit that its bootstrap draws), so the
covariance of the models' log error rates is drawn again from them, exactly as the comparison drew its intervals,
though the models stand in different comparisons. Nothing is decoded and no audio is read.
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
    """Of the classroom's speech that it was trained on; 0 for the base."""
    counts: Mapping[str, ErrorCounts]
    """Unit of the bootstrap → what the model made of it."""


def extract_curve_model(comparison: Comparison, name: str, hours: float) -> CurveModel:
    """The counts of one model of a comparison, unit by unit.

    Raises:
        EvaluationError: No model of the comparison has that name.
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


def build_learning_curve(models: Sequence[CurveModel], draws: int, seed: int) -> LearningCurve | None:
    """The curve through models on one test set; None where they tell nothing about hours.

    That is so with fewer than two amounts of speech among the models that make errors (a rate of 0 has no
    logarithm), or a test set of a single unit, whose spread nobody knows.

    Args:
        models: The base at 0 hours, and versions.
        draws: Of the bootstrap over units.
        seed: Of those draws.

    Raises:
        EvaluationError: The models were not scored on the same words.
    """
    chosen = [each for each in models if sum(of.errors for of in each.counts.values())]
    if len({each.hours for each in chosen}) < 2:
        return None
    units = sorted(chosen[0].counts)
    if len(units) < _MIN_UNITS:
        return None
    words = np.array([chosen[0].counts[unit].reference_words for unit in units], dtype=np.int64)
    for each in chosen[1:]:
        theirs = {unit: of.reference_words for unit, of in each.counts.items()}
        if theirs != dict(zip(units, words.tolist(), strict=True)):
            raise EvaluationError(
                f"{each.name} was scored on other words than {chosen[0].name} ({sum(theirs.values())} and "
                f"{int(words.sum())}); only models on one test set lie on one curve"
            )
    errors = np.array([[each.counts[unit].errors for each in chosen] for unit in units], dtype=np.int64)
    (drawn,) = Draws.of(units, draws, seed).resample([Counts(words, errors)])
    effective = max(float(drawn.units[0]), _MIN_UNITS)
    # A draw in which a good model makes no error at all counts as half a one.
    log_rates = np.log(np.maximum(drawn.drawn_errors, 0.5) / np.maximum(drawn.drawn_words, 1)[:, None])
    covariance = np.atleast_2d(np.cov(log_rates, rowvar=False)) * effective / (effective - 1)
    points = [
        CurvePoint(each.name, each.hours, float(total) / drawn.words)
        for each, total in zip(chosen, drawn.errors, strict=True)
    ]
    return fit_learning_curve(points, covariance)
