"""The interface of a metric: its name, computation, acceptable value and release guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from habla_ml.evaluation.metrics.inputs import MetricInputs, ModelRole
from habla_ml.evaluation.scoring.statistics import Interval, Resample, to_interval

if TYPE_CHECKING:
    from habla_ml.settings import AcceptableSettings, PromotionSettings
    from habla_ml.transcription.options import EngineOptions

Unit = Literal["share", "milliseconds", "real_time_factor", "bytes", "dollars"]


@dataclass(frozen=True)
class MetricTable:
    """One metric of every model."""

    values: Sequence[Interval | None]
    """In the order of the models; None where it was not measured."""
    differences: Mapping[tuple[int, int], Interval | None] = field(default_factory=dict)
    """(before, after) → the second model's value minus the first's on the same draws, in `Metric.difference_unit`: points (× 100)
    or a relative change in percent."""


@dataclass(frozen=True)
class ReleaseGuard:
    """A bound on the loss in one metric: a candidate that loses more is not released."""

    loss_bound: Callable[[PromotionSettings], float]
    """In points."""
    loss: str
    """In a refusal after `It`: `deletes more words`."""
    unit: str
    """What the points are of: `of the words`."""
    against: tuple[ModelRole, ...] = ("base", "previous")
    """The roles that a candidate must not lose to."""


@dataclass(frozen=True)
class Metric:
    """One figure of a model; a metric is defined by its module and one row of the registry."""

    name: str
    """Key in a stored comparison."""
    label: str
    unit: Unit
    measure: Callable[[MetricInputs], MetricTable]
    is_higher_better: bool = False
    acceptable_bound: Callable[[AcceptableSettings, EngineOptions], float | None] | None = None
    """The value must stay below it; None means no bound."""
    margin: float = 0.0
    """The share by which a figure of resources must be lower to be better; equal models differ by less."""
    guard: ReleaseGuard | None = None
    difference_unit: str = "points"
    """Of the paired differences."""
    help: str = ""
    """What it means, in words that a teacher understands; the report shows it next to the label."""


def tabulate_rates(resample: Resample, pairs: Sequence[tuple[int, int]]) -> MetricTable:
    """Make the table of a rate from its draws; column i of the resample is model i."""
    return MetricTable(
        [to_interval(resample.rate(model)) for model in range(len(resample.errors))],
        compute_differences(resample, pairs),
    )


def compute_differences(resample: Resample, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Interval | None]:
    """Return the difference of the rate for each pair of columns, in points."""
    return {pair: to_interval(resample.point_change(*pair)) for pair in pairs}
