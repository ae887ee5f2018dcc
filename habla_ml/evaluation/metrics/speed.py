"""Decoding speed: real-time factors over the clips of the test set, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.statistics import Interval

_MIN_CLIPS: Final = 2
_NORMAL_QUANTILE: Final = 1.959964


def list_real_time_factors(inputs: MetricInputs) -> list[list[float]]:
    """Return decoding time over audio time of every test clip, sorted, for each model; failed clips do not count."""
    return [_list_factors(model, inputs) for model in inputs.models]


def _list_factors(model: DecodedModel, inputs: MetricInputs) -> list[float]:
    decoded = [model.hypothesis_by_audio[each.audio_sha256] for each in inputs.test.references]
    return sorted(each.decode_s / each.duration_s for each in decoded if each.failure is None and each.duration_s > 0)


def compute_quantile(ordered: Sequence[float], share: float) -> Interval | None:
    """Return a quantile with its 95 % interval by order statistics; None for fewer than two values.

    Source: David and Nagaraja, Order statistics, 2003, 7.1.
    """
    n = len(ordered)
    if n < _MIN_CLIPS:
        return None
    spread = _NORMAL_QUANTILE * math.sqrt(n * share * (1 - share))
    low, high = math.floor(n * share - spread), math.ceil(n * share + spread)
    return Interval(
        low=ordered[max(0, low)],
        value=ordered[min(n - 1, round(share * (n - 1)))],
        high=ordered[min(n - 1, high)],
    )


def _measure_median(inputs: MetricInputs) -> MetricTable:
    return MetricTable([compute_quantile(each, 0.5) for each in inputs.compute_once(list_real_time_factors)])


def _measure_95th_percentile(inputs: MetricInputs) -> MetricTable:
    return MetricTable([compute_quantile(each, 0.95) for each in inputs.compute_once(list_real_time_factors)])


MEDIAN_SPEED = Metric(
    "real_time_factor_p50",
    "real-time factor p50",
    "real_time_factor",
    _measure_median,
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p50,
)
SPEED_95TH_PERCENTILE = Metric(
    "real_time_factor_p95",
    "real-time factor p95",
    "real_time_factor",
    _measure_95th_percentile,
    acceptable_bound=lambda bounds, _: bounds.real_time_factor_p95,
)
