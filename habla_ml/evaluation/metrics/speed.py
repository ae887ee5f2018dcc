"""Decoding speed: real-time factors and throughput from a run of their own, with intervals over clips and rounds.

One clip varies from round to round, because other programs use the machine, and clips vary among each other. Both are
in the intervals: the variance of a figure over its rounds, divided by their number, plus its bootstrap variance over
clips, with Student's t and the degrees of freedom of Welch and Satterthwaite (Satterthwaite, An approximate distribution
of estimates of variance components, Biometrics Bulletin 2 (1946), 110-114). All is computed on logarithms, and the
difference of two models on the same clips and rounds, so what slows both down cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.metrics.speed_run import ModelTiming
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Interval, compute_t_quantile

TIME_MARGIN: Final = 0.05
"""A smaller share of the time does not decide between two models."""
_CLIP_DRAWS: Final = 500
_SEED: Final = 20260216


def tabulate_speed(figure: Callable[[ModelTiming], LogFigure], inputs: MetricInputs) -> MetricTable:
    """Return a figure of every timed model, and its relative change in percent for each pair; empty without a run."""
    run = inputs.measurements.speed
    timings = [run.find(each.name) if run else None for each in inputs.models]
    figures = [None if each is None else figure(each) for each in timings]
    differences = {}
    for before, after in inputs.pairs:
        old, new = figures[before], figures[after]
        differences[before, after] = None if old is None or new is None else _to_percent(new.minus(old).interval())
    return MetricTable([None if each is None else each.to_positive_interval() for each in figures], differences)


class LogFigure:
    """The logarithm of a positive figure, with what its interval needs.

    Args:
        rounds: The figure of each round.
        drawn: Its mean over the rounds for each bootstrap draw of the clips; empty where clips are not drawn.
        clips: Number of clips.
    """

    def __init__(self, rounds: NDArray[np.float64], drawn: NDArray[np.float64], clips: int) -> None:
        self._rounds, self._drawn, self._clips = rounds, drawn, clips

    @classmethod
    def of_quantile(cls, share: float, timing: ModelTiming) -> LogFigure:
        """Return a quantile of the real-time factors over the clips."""
        factors = np.array(timing.factors, dtype=np.float64)
        clips = factors.shape[1]
        chosen = np.random.default_rng(_SEED).integers(clips, size=(_CLIP_DRAWS, clips))
        drawn = np.log(np.quantile(factors[:, chosen], share, axis=2)).mean(axis=0)
        return cls(np.log(np.quantile(factors, share, axis=1)), drawn, clips)

    def minus(self, other: LogFigure) -> LogFigure:
        """Return the difference on the same clips and rounds."""
        return LogFigure(self._rounds - other._rounds, self._drawn - other._drawn, self._clips)

    def interval(self) -> Interval:
        """Return the interval of the logarithm."""
        value, rounds = float(self._rounds.mean()), len(self._rounds)
        between = float(self._rounds.var(ddof=1)) / rounds
        within = float(self._drawn.var()) if len(self._drawn) else 0.0
        total = between + within
        if total == 0:
            return Interval(value, value, value)
        freedom = total**2 / (between**2 / (rounds - 1) + within**2 / max(self._clips - 1, 1))
        half = compute_t_quantile((1 + CONFIDENCE_LEVEL) / 2, max(1.0, freedom)) * math.sqrt(total)
        return Interval(value - half, value, value + half)

    def to_positive_interval(self) -> Interval:
        """Return the interval of the figure itself."""
        found = self.interval()
        return Interval(math.exp(found.low), math.exp(found.value), math.exp(found.high))


def make_cost_figure(usd_per_hour: float, timing: ModelTiming) -> LogFigure:
    """Return the US dollars for one hour of audio: the price of an hour of computing over the throughput."""
    return LogFigure(np.log(usd_per_hour / np.array(timing.throughput, dtype=np.float64)), np.empty(0), 0)


def _to_percent(change: Interval) -> Interval:
    return Interval(*(100 * math.expm1(each) for each in (change.low, change.value, change.high)))


def _measure_quantile(share: float) -> Callable[[MetricInputs], MetricTable]:
    return partial(tabulate_speed, partial(LogFigure.of_quantile, share))


MEDIAN_SPEED = Metric(
    "real_time_factor_p50",
    "real-time factor p50",
    "real_time_factor",
    _measure_quantile(0.5),
    help="Computing time over clip length, at most this for half of the clips; 0.5 transcribes a minute in 30 s.",
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p50,
    margin=TIME_MARGIN,
    difference_unit="% of the time",
)
SPEED_95TH_PERCENTILE = Metric(
    "real_time_factor_p95",
    "real-time factor p95",
    "real_time_factor",
    _measure_quantile(0.95),
    help="Computing time over clip length, at most this for 95 % of the clips.",
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p95,
    margin=TIME_MARGIN,
    difference_unit="% of the time",
)
