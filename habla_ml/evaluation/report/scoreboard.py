"""The table `metric | A | B | winner`: every metric of every model, what is acceptable, and which model is better.

One model is significantly better than another where the interval of their difference on the same draws excludes zero.
Without such a difference their intervals must not overlap. A figure that is measured once has no interval and must be
lower by a margin. The winners are the models that no other model is significantly better than, if there is a loser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.metric import Metric, Unit
from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.scoring.rates import format_bound
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AcceptableSettings
from habla_ml.tables import TableCell, ThresholdStatus

NO_WINNER: Final = "no clear winner"
_FORMATS: Final[Mapping[Unit, Callable[[Interval], str]]] = {
    "share": figures.share_with_interval,
    "milliseconds": figures.milliseconds,
    "real_time_factor": figures.factor,
    "bytes": lambda interval: figures.memory(interval.value),
    "dollars": lambda interval: figures.dollars(interval.value),
}
_BOUND_FORMATS: Final[Mapping[Unit, Callable[[float], str]]] = {
    "share": format_bound,
    "milliseconds": lambda bound: f"{bound:.0f}\u00a0ms",
    "real_time_factor": lambda bound: f"{bound:g}\u00a0×",
    "bytes": figures.memory,
    "dollars": figures.dollars,
}


@dataclass(frozen=True)
class ScoreboardRow:
    """One metric."""

    metric: str
    bound: str
    """What is acceptable, or empty."""
    cells: tuple[TableCell, ...]
    """In the order of the models."""
    winners: tuple[str, ...]
    """The models that are not losers; empty where there is no loser."""
    losers: tuple[str, ...]
    """The models that another model is significantly better than."""
    help: str = ""
    """What the metric means, in plain words."""

    @property
    def winner(self) -> str:
        """The winners, `NO_WINNER`, or a dash where fewer than two models were measured."""
        measured = sum(each.text != figures.NO_VALUE for each in self.cells)
        return ", ".join(self.winners) or (NO_WINNER if measured > 1 else figures.NO_VALUE)

    @property
    def is_measured(self) -> bool:
        """Whether any model has a value."""
        return any(each.text != figures.NO_VALUE for each in self.cells)


def build_scoreboard(comparison: Comparison, acceptable: AcceptableSettings) -> tuple[ScoreboardRow, ...]:
    """Return a row for every metric, in the order of `METRICS`; some may be unmeasured."""
    return tuple(_build_row(metric, comparison, acceptable) for metric in METRICS)


def list_change_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return label with unit and paired differences, one for each change, of every metric that has a difference."""
    return [
        (
            f"{metric.label}, {metric.difference_unit}",
            [figures.points_with_interval(each.metrics.get(metric.name)) for each in comparison.changes],
        )
        for metric in METRICS
        if any(metric.name in each.metrics for each in comparison.changes)
    ]


def compare_with_bound(value: Interval | None, bound: float | None) -> ThresholdStatus | None:
    """Return whether the interval is below `bound`, above it, or includes it (`unsure`); None without either."""
    if value is None or bound is None:
        return None
    if value.high < bound:
        return "met"
    return "missed" if value.low >= bound else "unsure"


def _build_row(metric: Metric, comparison: Comparison, acceptable: AcceptableSettings) -> ScoreboardRow:
    measured: dict[str, Interval] = {}
    cells, bounds = [], []
    for model in comparison.models:
        value = model.metrics.get(metric.name)
        bound = metric.acceptable_bound(acceptable, model.decoding) if metric.acceptable_bound else None
        text = _FORMATS[metric.unit](value) if value else figures.NO_VALUE
        cells.append(TableCell(text, status=compare_with_bound(value, bound)))
        bounds.append(bound)
        if value is not None:
            measured[model.name] = value
    losers = tuple(
        name
        for name in measured
        if any(_is_better(metric, comparison, measured, other, name) for other in measured if other != name)
    )
    winners = tuple(name for name in measured if name not in losers) if losers else ()
    return ScoreboardRow(metric.label, _format_bounds(metric.unit, bounds), tuple(cells), winners, losers, metric.help)


def _format_bounds(unit: Unit, bounds: Sequence[float | None]) -> str:
    known = [each for each in dict.fromkeys(bounds) if each is not None]
    return f"below {' or '.join(_BOUND_FORMATS[unit](each) for each in known)}" if known else ""


def _is_better(metric: Metric, comparison: Comparison, measured: Mapping[str, Interval], one: str, other: str) -> bool:
    """Whether `one` is significantly better than `other`."""
    sign = -1.0 if metric.is_higher_better else 1.0
    for change in comparison.changes:
        difference = change.metrics.get(metric.name)
        if difference is not None and {change.of, change.against} == {one, other}:
            ends = [(sign if change.of == one else -sign) * each for each in (difference.low, difference.high)]
            # Only times and costs have both a paired difference, in percent, and a margin.
            return max(ends) < -100 * metric.margin
    better, worse = measured[one], measured[other]
    low, high = (worse, better) if metric.is_higher_better else (better, worse)
    if low.low == low.high and high.low == high.high:
        return low.value < (1 - metric.margin) * high.value
    return low.high < high.low
