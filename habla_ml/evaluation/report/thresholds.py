"""What is acceptable, dimension by dimension, whatever it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from habla_ml.evaluation.statistics import Interval

Standing = Literal["met", "unsure", "missed"]


@dataclass(frozen=True)
class Thresholds:
    """The bounds of the project's evaluation framework; a figure must stay below, and None bounds nothing.

    The framework names no bound on the CER of Spanish: this is that of English. The real-time factors are those of
    production; a preview needs 0.5 and 1.
    """

    wer: float | None = 0.10
    cer: float | None = 0.05
    real_time_factor_p50: float | None = 2.0
    real_time_factor_p95: float | None = 5.0
    peak_memory_bytes: int | None = None
    """What the machine that serves has."""
    peak_gpu_memory_bytes: int | None = None
    own_cost_per_audio_hour_usd: float | None = 0.50
    hosted_cost_per_audio_hour_usd: float | None = 1.50
    word_timing_ms: float | None = 100.0
    fewest_clips: int = 50
    """Below it, a comparison is no comparison."""


def standing(figure: Interval | None, bound: float | None) -> Standing | None:
    """Whether a figure stays below its bound; `unsure` where its interval holds the bound, None without either."""
    if figure is None or bound is None:
        return None
    if figure.high < bound:
        return "met"
    return "missed" if figure.low >= bound else "unsure"
