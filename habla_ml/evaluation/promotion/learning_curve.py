"""The learning curve: a power law of the error rate over hours of training speech.

E(h) = c + (E(0) − c) · (1 + h / h0)^−b, with the base model at 0 hours, h0 hours from which fine-tuning outweighs the
base's own training, and a floor c that training does not reach (Hernandez et al. 2021, Scaling Laws for Transfer).
Three versions cannot determine four parameters. The prior is therefore what was published for fine-tuning Whisper on
a dialect (2–5 h: 15–20 % fewer errors, 8–20 h: 30–40 %, 50 h and more: 50 %), with wide spreads; the posterior is
computed on a grid. Few or noisy points give wide forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ln(1 − reduction) = −b · ln(1 + h / h0) fits the three published ranges with h0 = 3 h and b = 0.25.
_PRIOR_HOURS: Final = (3.0, 1.2)
"""Median of h0, and the standard deviation of its logarithm."""
_PRIOR_EXPONENT: Final = (0.25, 0.6)
_FLOOR_SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8)
"""The floor as a share of the smallest measured rate; a uniform prior."""
_GRID_STEPS: Final = 41
_POSTERIOR_DRAWS: Final = 4000
_POSTERIOR_SEED: Final = 20260216


@dataclass(frozen=True)
class CurvePoint:
    """One trained version (or the base, at 0 hours) on the test set."""

    name: str
    hours: float
    """Hours of classroom speech in its training."""
    wer: float


@dataclass(frozen=True)
class LearningCurve:
    """The fitted law: draws from the posterior, each a complete curve."""

    points: tuple[CurvePoint, ...]
    present_hours: float
    """The largest hours of any point."""
    start: NDArray[np.float64]
    """E(0) − c of each draw, shape [draws]."""
    hours_scale: NDArray[np.float64]
    """h0, shape [draws]."""
    exponent: NDArray[np.float64]
    """b, shape [draws]."""
    floor: NDArray[np.float64]
    """c, shape [draws]."""

    def wer(self, hours: float) -> Interval:
        """Return the expected error rate after training on `hours`: median and 95 % interval."""
        return _summarise_draws(self._predict_rates(hours))

    def reduction(self, more_hours: float) -> Interval:
        """Return the share of today's errors that `more_hours` are expected to remove: median and 95 % interval."""
        return _summarise_draws(self._predict_reductions(more_hours))

    def probability(self, more_hours: float, at_least: float) -> float:
        """Return the probability that `more_hours` remove at least this share of today's errors."""
        return float(np.mean(self._predict_reductions(more_hours) >= at_least))

    def _predict_reductions(self, more_hours: float) -> NDArray[np.float64]:
        now, then = self._predict_rates(self.present_hours), self._predict_rates(self.present_hours + more_hours)
        return 1 - then / now

    def _predict_rates(self, hours: float) -> NDArray[np.float64]:
        return self.floor + self.start * (1 + hours / self.hours_scale) ** -self.exponent


def fit_learning_curve(
    points: Sequence[CurvePoint], log_covariance: NDArray[np.float64], seed_log_sd: float = 0.03
) -> LearningCurve:
    """Fit the law to points that are measured on the same test set.

    Args:
        points: At least the base and one version; hours from 0, rates above 0.
        log_covariance: Covariance of the logarithms of the rates over the bootstrap draws of the test set, shape
            [points, points]. Noise that all points share, like an easy test set, does not change the slope.
        seed_log_sd: Standard deviation of the logarithm of the rate between trainings that differ in their seed only.

    Raises:
        EvaluationError: There are fewer than two points or hours, a rate is 0, or the covariance has another shape.
    """
    if len({each.hours for each in points}) < 2:
        raise EvaluationError(
            f"a learning curve needs rates at two or more amounts of speech, got {len(points)} at "
            f"{sorted({each.hours for each in points})} h; train a version or part of one first"
        )
    for each in points:
        if not (each.wer > 0 and each.hours >= 0):
            raise EvaluationError(
                f"{each.name} has a WER of {each.wer} at {each.hours} h, but the WER must be above 0 and the hours 0 or "
                "more; leave it out"
            )
    if log_covariance.shape != (n := len(points), n):
        raise EvaluationError(f"covariance has shape {log_covariance.shape}, expected {(n, n)} for {n} points")
    hours, rates = np.array([each.hours for each in points]), np.array([each.wer for each in points])
    noise = log_covariance + np.diag(np.where(hours > 0, seed_log_sd**2, 1e-8))
    cells = [
        (hours_scale, exponent, share * rates.min())
        for hours_scale in _make_log_grid(*_PRIOR_HOURS)
        for exponent in _make_log_grid(*_PRIOR_EXPONENT)
        for share in _FLOOR_SHARES
    ]
    weights, means, spreads = _compute_posterior(cells, hours, rates, noise)
    random = np.random.default_rng(_POSTERIOR_SEED)
    chosen = random.choice(len(cells), _POSTERIOR_DRAWS, p=weights)
    drawn = np.array(cells)[chosen]
    start = np.exp(random.normal(means[chosen], spreads[chosen]))
    return LearningCurve(tuple(points), float(hours.max()), start, drawn[:, 0], drawn[:, 1], drawn[:, 2])


def _make_log_grid(median: float, log_sd: float) -> NDArray[np.float64]:
    return median * np.exp(np.linspace(-2.5, 2.5, _GRID_STEPS) * log_sd)


def _compute_posterior(
    cells: Sequence[tuple[float, float, float]],
    hours: NDArray[np.float64],
    rates: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the weight of each cell, and mean and spread of ln(E(0) − c) in it, integrated out analytically."""
    prior = np.exp(-0.5 * np.linspace(-2.5, 2.5, _GRID_STEPS) ** 2)
    log_prior = np.log(np.repeat(np.outer(prior, prior).ravel(), len(_FLOOR_SHARES)))
    log_likelihood, means, spreads = (np.empty(len(cells)) for _ in range(3))
    by_floor = {}
    for floor in {cell[2] for cell in cells}:
        # d ln(E − c) = E / (E − c) · d ln E
        stretch = rates / (rates - floor)
        by_floor[floor] = np.linalg.inv(noise * np.outer(stretch, stretch)), np.log(rates - floor), stretch
    for at, (hours_scale, exponent, floor) in enumerate(cells):
        precision, logs, stretch = by_floor[floor]
        wanted = logs + exponent * np.log1p(hours / hours_scale)
        weight = precision.sum()
        mean = float((precision @ wanted).sum() / weight)
        residuals = wanted - mean
        # The Jacobian of ln(E − c) makes floors comparable.
        fit = residuals @ precision @ residuals + np.log(weight)
        log_likelihood[at] = -0.5 * fit + 0.5 * np.linalg.slogdet(precision)[1] + np.log(stretch).sum()
        means[at], spreads[at] = mean, weight**-0.5
    log_weights = log_prior + log_likelihood
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum(), means, spreads


def _summarise_draws(values: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail])
    return Interval(float(low), float(middle), float(high))
