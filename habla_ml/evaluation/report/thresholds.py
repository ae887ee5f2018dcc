"""What is acceptable, dimension by dimension, whatever it is compared with."""

from __future__ import annotations

from typing import Literal

from habla_ml.evaluation.scoring.statistics import Interval

ThresholdStatus = Literal["met", "unsure", "missed"]


def threshold_status(figure: Interval | None, bound: float | None) -> ThresholdStatus | None:
    """Whether a figure stays below its bound; `unsure` where its interval holds the bound, None without either."""
    if figure is None or bound is None:
        return None
    if figure.high < bound:
        return "met"
    return "missed" if figure.low >= bound else "unsure"
