"""What is acceptable, dimension by dimension, whatever it is compared with."""

from __future__ import annotations

from typing import Literal

from habla_ml.evaluation.statistics import Interval

Standing = Literal["met", "unsure", "missed"]


def standing(figure: Interval | None, bound: float | None) -> Standing | None:
    """Whether a figure stays below its bound; `unsure` where its interval holds the bound, None without either."""
    if figure is None or bound is None:
        return None
    if figure.high < bound:
        return "met"
    return "missed" if figure.low >= bound else "unsure"
