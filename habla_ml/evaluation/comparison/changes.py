"""The differences between two models, all on the same draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from habla_ml.evaluation.comparison.records import Change, Slice, SliceChange
from habla_ml.evaluation.comparison.superiority import measure_superiority
from habla_ml.evaluation.metrics.error_rates import resample_errors
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import MetricTable
from habla_ml.evaluation.scoring.significance import compute_simultaneous_lower_bounds, compute_smallest_detectable
from habla_ml.evaluation.scoring.statistics import Resample, to_interval


def compute_changes(
    inputs: MetricInputs, tables: Mapping[str, MetricTable], sliced: Sequence[tuple[Slice, Resample]]
) -> tuple[Change, ...]:
    """Compare each pair of models.

    Args:
        inputs: The decoded models.
        tables: Name of a metric → its values and differences.
        sliced: Every slice with its draws.
    """
    words = inputs.compute_once(resample_errors)["words"]
    changes = []
    for before, after in inputs.pairs:
        differences = {name: table.differences.get((before, after)) for name, table in tables.items()}
        points = words.point_change(before, after)
        changes.append(
            Change(
                of=inputs.models[after].name,
                against=inputs.models[before].name,
                role=inputs.models[before].role,
                relative_improvement=to_interval(words.relative_improvement(before, after)),
                metrics={name: each for name, each in differences.items() if each is not None},
                smallest_detectable_points=compute_smallest_detectable(points),
                superiority=measure_superiority(points),
                slices=_compute_slice_changes(sliced, before, after),
            )
        )
    return tuple(changes)


def _compute_slice_changes(
    sliced: Sequence[tuple[Slice, Resample]], before: int, after: int
) -> tuple[SliceChange, ...]:
    """Compare every slice that is large enough and of several sessions, but for slices that hold the whole set.

    A slice of one session was drawn sentence by sentence, which says nothing of other sessions and pairs with no draws.
    """
    whole = max((part.utterances for part, _ in sliced), default=0)
    large = [
        (part, resample)
        for part, resample in sliced
        if part.too_small is None and part.sessions > 1 and part.utterances < whole
    ]
    figures = [(part, resample.point_change(before, after)) for part, resample in large]
    known = [(part, figure) for part, figure in figures if figure is not None]
    if not known:
        return ()
    bounds = compute_simultaneous_lower_bounds([figure for _, figure in known])
    return tuple(
        SliceChange(dimension=part.dimension, name=part.name, points=figure.interval(), loss_lower_bound_points=bound)
        for (part, figure), bound in zip(known, bounds, strict=True)
    )
