"""The learning curve: a power law of the error rate over hours of training speech.

E(h) = E(0) · (φ + (1 − φ) · (1 + h / h0)^−b), with the base model at 0 hours, h0 hours from which fine-tuning outweighs
the base's own training, and a floor φ · E(0) that training does not reach (Hernandez et al. 2021, Scaling Laws for
Transfer). Three versions cannot determine four parameters. The prior is therefore centred on what was published for
fine-tuning Whisper on a dialect (2–5 h: 15–20 % fewer errors, 8–20 h: 30–40 %, 50 h and more: 50 %). Its spreads are
wide, because a narrow speaker group or a small model learns much faster. The posterior is computed on a grid; E(0) has
a flat prior on its logarithm and is integrated out exactly.

A forecast starts at the newest version as it was measured, not at the curve: the seed's part of its rate is drawn
given all points. A forecast is valid only if the law describes the points (`LearningCurve.explain_misfit`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.statistics import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORECAST_LEVEL: Final = 0.80
"""Level of the intervals of a forecast; `benchmarks/bench_forecast.py` measures how often they hold."""

# ln(1 − reduction) = −b · ln(1 + h / h0) fits the three published ranges with h0 = 3 h and b = 0.25.
_PRIOR_HOURS: Final = (3.0, 1.7)
"""Median of h0, and the standard deviation of its logarithm."""
_PRIOR_EXPONENT: Final = (0.35, 0.6)
_FLOOR_SHARES: Final = tuple(np.linspace(0.0, 0.7, 8))
"""φ, with a prior that falls linearly to 0 at φ = 0.8."""
_GRID_STEPS: Final = 41
_GRID_REACH: Final = 2.5
"""Standard deviations of the prior that the grid covers on each side."""
_POSTERIOR_DRAWS: Final = 4000
_POSTERIOR_SEED: Final = 20260216
_LEAST_FIT: Final = 0.05
"""Posterior predictive probability of points as far from the law as the measured ones, below which it is refuted."""
_BASE_LOG_VARIANCE: Final = 1e-8


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
    newest: CurvePoint
    """The version that the forecast starts from."""
    log_start: NDArray[np.float64]
    """ln E(0) of each draw, shape [draws]."""
    hours_scale: NDArray[np.float64]
    """h0, shape [draws]."""
    exponent: NDArray[np.float64]
    """b, shape [draws]."""
    floor_share: NDArray[np.float64]
    """φ, shape [draws]."""
    log_seed_effect: NDArray[np.float64]
    """Drawn difference of the newest version's log rate from the curve, shape [draws]."""
    log_next_seed_effect: NDArray[np.float64]
    """The same of a version that is not yet trained, shape [draws]."""
    fit: float
    """Posterior predictive probability that points are as far from the law as the measured ones."""

    def describe_fit(self, hours: float) -> Interval:
        """Return the law's error rate after training on `hours`: median and 80 % interval."""
        return _summarise_draws(np.exp(self._predict_log_rates(hours)))

    def wer(self, more_hours: float) -> Interval:
        """Return the expected error rate after `more_hours`, from today's measured one: median and 80 % interval."""
        return _summarise_draws(self.newest.wer * (1 - self._predict_reductions(more_hours)))

    def reduction(self, more_hours: float) -> Interval:
        """Return the share of today's errors that `more_hours` are expected to remove: median and 80 % interval."""
        return _summarise_draws(self._predict_reductions(more_hours))

    def probability(self, more_hours: float, at_least: float) -> float:
        """Return the probability that `more_hours` remove at least this share of today's errors."""
        return float(np.mean(self._predict_reductions(more_hours) >= at_least))

    def explain_misfit(self) -> str | None:
        """Return why the law does not describe the points, so that there is no forecast; None if it does."""
        if self.fit >= _LEAST_FIT:
            return None
        listed = ", ".join(f"{each.name} {100 * each.wer:.1f}\u00a0% at {each.hours:.1f} h" for each in self.points)
        return (
            f"There is no forecast: the measured error rates ({listed}) do not follow a learning curve. Points this far "
            f"from it have a probability of {100 * self.fit:.1f}\u00a0%, below {100 * _LEAST_FIT:.0f}\u00a0%. Something "
            "other than the hours changed, for example the recipe, the kind of speech or the test set."
        )

    def _predict_log_rates(self, hours: float) -> NDArray[np.float64]:
        shape = (1 + hours / self.hours_scale) ** -self.exponent
        return self.log_start + np.log(self.floor_share + (1 - self.floor_share) * shape)

    def _predict_reductions(self, more_hours: float) -> NDArray[np.float64]:
        now = self._predict_log_rates(self.newest.hours) + self.log_seed_effect
        then = self._predict_log_rates(self.newest.hours + more_hours) + self.log_next_seed_effect
        return 1 - np.exp(then - now)


def fit_learning_curve(
    points: Sequence[CurvePoint],
    log_covariance: NDArray[np.float64],
    seed_log_sd: float = 0.03,
    newest: str | None = None,
    freedom: float = math.inf,
) -> LearningCurve:
    """Fit the law to points that are measured on the same test set.

    Args:
        points: At least the base and one version; hours from 0, rates above 0.
        log_covariance: Covariance of the logarithms of the rates over the bootstrap draws of the test set, shape
            [points, points]. Noise that all points share, like an easy test set, does not change the slope.
        seed_log_sd: Standard deviation of the logarithm of the rate between trainings that differ in their seed only.
        newest: Name of the version that forecasts start from; by default the one with the largest hours.
        freedom: Degrees of freedom of the covariance, the sessions less one; few sessions do not refute a law.

    Raises:
        EvaluationError: There are fewer than two points or hours, a rate is 0, `newest` is not among the points, or the
            covariance has another shape.
    """
    _check_points(points, log_covariance)
    start = _find_newest(points, newest)
    hours, logs = np.array([each.hours for each in points]), np.log([each.wer for each in points])
    seed_variance = np.where(hours > 0, seed_log_sd**2, _BASE_LOG_VARIANCE)
    noise = log_covariance + np.diag(seed_variance)
    precision = np.linalg.inv(noise)
    cells = _list_cells()
    weights, means, spread = _compute_posterior(cells, hours, logs, precision)
    random = np.random.default_rng(_POSTERIOR_SEED)
    chosen = random.choice(len(weights), _POSTERIOR_DRAWS, p=weights)
    drawn = cells[chosen]
    log_start = random.normal(means[chosen], spread)
    residuals = logs - log_start[:, None] - _compute_log_shapes(drawn, hours)
    # The seed's part of the newest residual, given all of them: a normal distribution conditioned on a sum.
    gain = seed_variance[start] * precision[start]
    left = seed_variance[start] - gain[start] * seed_variance[start]
    seed_effect = residuals @ gain + random.normal(0, math.sqrt(max(left, 0.0)), _POSTERIOR_DRAWS)
    return LearningCurve(
        points=tuple(points),
        newest=points[start],
        log_start=log_start,
        hours_scale=drawn[:, 0],
        exponent=drawn[:, 1],
        floor_share=drawn[:, 2],
        log_seed_effect=seed_effect,
        log_next_seed_effect=random.normal(0, seed_log_sd, _POSTERIOR_DRAWS),
        fit=_compute_fit(residuals, precision, freedom),
    )


def _check_points(points: Sequence[CurvePoint], log_covariance: NDArray[np.float64]) -> None:
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


def _find_newest(points: Sequence[CurvePoint], newest: str | None) -> int:
    if newest is None:
        return max(range(len(points)), key=lambda at: points[at].hours)
    names = [each.name for each in points]
    if newest not in names:
        raise EvaluationError(f"the newest version {newest} is not among the points {', '.join(names)}")
    return names.index(newest)


def _list_cells() -> NDArray[np.float64]:
    """Return h0, b and φ of every cell of the grid, shape [cells, 3]; φ changes fastest."""
    axes = (_make_log_grid(*_PRIOR_HOURS), _make_log_grid(*_PRIOR_EXPONENT), np.array(_FLOOR_SHARES))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _make_log_grid(median: float, log_sd: float) -> NDArray[np.float64]:
    return median * np.exp(np.linspace(-_GRID_REACH, _GRID_REACH, _GRID_STEPS) * log_sd)


def _compute_log_shapes(cells: NDArray[np.float64], hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(E(h) / E(0)) of each cell, shape [cells, hours]."""
    falls = np.exp(-cells[:, 1:2] * np.log1p(hours / cells[:, 0:1]))
    return np.log(cells[:, 2:3] + (1 - cells[:, 2:3]) * falls)


def _compute_posterior(
    cells: NDArray[np.float64], hours: NDArray[np.float64], logs: NDArray[np.float64], precision: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the weight of each cell, the mean of ln E(0) in it, and the standard deviation of ln E(0) in any."""
    normal = np.exp(-0.5 * np.linspace(-_GRID_REACH, _GRID_REACH, _GRID_STEPS) ** 2)
    floors = 0.8 - np.array(_FLOOR_SHARES)
    log_prior = np.log(np.einsum("i,j,k->ijk", normal, normal, floors).ravel())
    starts = logs - _compute_log_shapes(cells, hours)
    total = precision.sum()
    means = starts @ precision.sum(axis=0) / total
    residuals = starts - means[:, None]
    log_weights = log_prior - 0.5 * np.einsum("ci,ij,cj->c", residuals, precision, residuals)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum(), means, float(total**-0.5)


def _compute_fit(residuals: NDArray[np.float64], precision: NDArray[np.float64], freedom: float) -> float:
    """Return the posterior predictive p-value of the distance to the law (Gelman, Meng and Stern 1996)."""
    from scipy.special import chdtrc, fdtrc

    points = residuals.shape[1]
    distances = np.einsum("di,ij,dj->d", residuals, precision, residuals)
    known = math.isinf(freedom)
    tails = chdtrc(points, distances) if known else fdtrc(points, max(freedom, 1.0), distances / points)
    return float(np.mean(tails))


def _summarise_draws(values: NDArray[np.float64]) -> Interval:
    tail = (1 - FORECAST_LEVEL) / 2
    low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail])
    return Interval(float(low), float(middle), float(high))
