"""Decoding speed: real-time factors over the clips of the test set, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final

from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.statistics import CONFIDENCE_LEVEL, Interval

_MIN_CLIPS: Final = 2


def list_real_time_factors(inputs: MetricInputs) -> list[list[float]]:
    """Return decoding time over audio time of the test clips, sorted, for each model; failed clips are excluded."""
    keys = [each.audio_sha256 for each in inputs.test.references]
    decoded = [[model.hypothesis_by_audio[key] for key in keys] for model in inputs.models]
    return [
        sorted(each.decode_s / each.duration_s for each in clips if each.failure is None and each.duration_s > 0)
        for clips in decoded
    ]


def compute_quantile(ordered: Sequence[float], share: float) -> Interval | None:
    """Return a quantile with its 95 % interval by order statistics (David and Nagaraja, Order statistics, 2003, 7.1).

    None for fewer than two values.
    """
    n = len(ordered)
    if n < _MIN_CLIPS:
        return None
    spread = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2) * math.sqrt(n * share * (1 - share))
    low, high = math.floor(n * share - spread), math.ceil(n * share + spread)
    return Interval(
        low=ordered[max(0, low)],
        value=ordered[min(n - 1, round(share * (n - 1)))],
        high=ordered[min(n - 1, high)],
    )


def _measure(share: float) -> Callable[[MetricInputs], MetricTable]:
    return lambda inputs: MetricTable(
        [compute_quantile(each, share) for each in inputs.compute_once(list_real_time_factors)]
    )


MEDIAN_SPEED = Metric(
    "real_time_factor_p50",
    "real-time factor p50",
    "real_time_factor",
    _measure(0.5),
    help="Computing time over clip length, at most this for half of the clips; 0.5 transcribes a minute in 30 s.",
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p50,
)
SPEED_95TH_PERCENTILE = Metric(
    "real_time_factor_p95",
    "real-time factor p95",
    "real_time_factor",
    _measure(0.95),
    help="Computing time over clip length, at most this for 95 % of the clips.",
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p95,
)
