"""Small plots for materialisations: a few kB each, since they are stored with the event."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def histogram(values: Sequence[float], unit: str, bound: float | None = None) -> bytes:
    """PNG of a histogram, with a dashed line at `bound`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 1.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins=30, color="#3b6ea5")
    if bound is not None:
        axes.axvline(bound, color="#b3541e", linestyle="--", linewidth=1)
    return _png(figure, axes, unit)


def line(points: Sequence[tuple[float, float]], x_label: str, y_label: str) -> bytes:
    """PNG of a curve through `points`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 1.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.plot([x for x, _ in points], [y for _, y in points], color="#3b6ea5", marker=".", markersize=4)
    axes.set_ylabel(y_label, fontsize=8)
    return _png(figure, axes, x_label)


def _png(figure: Figure, axes: Axes, x_label: str) -> bytes:
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
