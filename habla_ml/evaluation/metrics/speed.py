"""How fast a model decodes: real-time factors clip by clip, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from habla_ml.evaluation.comparison.records import DecodingSpeed
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.transcription.engine import Hypothesis

_MIN_CLIPS: Final = 2
_NORMAL_QUANTILE: Final = 1.959964


def measure_speed(heard: Sequence[Hypothesis]) -> DecodingSpeed:
    """Median and 95th percentile of decoding time over audio time; clips that failed do not count."""
    factors = sorted(
        each.decode_s / each.duration_s for each in heard if each.failure is None and each.duration_s > 0
    )
    return DecodingSpeed(
        clips=len(factors),
        real_time_factor_p50=_quantile(factors, 0.5),
        real_time_factor_p95=_quantile(factors, 0.95),
    )


def _quantile(ordered: Sequence[float], share: float) -> Interval | None:
    """A quantile with its 95 % interval by order statistics (David and Nagaraja, Order statistics, 2003, 7.1)."""
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
