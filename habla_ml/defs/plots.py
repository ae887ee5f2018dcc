"""Small plots for metadata: a few kB each, because they are stored with the event."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from habla_ml.evaluation.scoring.statistics import Interval


def histogram(values: Sequence[float], unit: str, bound: float | None = None) -> bytes:
    """Return a PNG histogram with a dashed line at `bound`."""
    figure, axes = _create_plot(4, 1.6)
    axes.hist(values, bins=30, color="#3b6ea5")
    if bound is not None:
        axes.axvline(bound, color="#b3541e", linestyle="--", linewidth=1)
    return _render_png(figure, axes, unit)


def line(points: Sequence[tuple[float, float]], x_label: str, y_label: str) -> bytes:
    """Return a PNG curve through `points`."""
    figure, axes = _create_plot(4, 1.6)
    axes.plot([x for x, _ in points], [y for _, y in points], color="#3b6ea5", marker=".", markersize=4)
    axes.set_ylabel(y_label, fontsize=8)
    return _render_png(figure, axes, x_label)


def plot_weekly_rates(weeks: Sequence[tuple[str, Interval | None]], level: float | None, tolerated: float) -> bytes:
    """Return a PNG of weekly error rates with 95 % intervals, in percent.

    A solid line shows `level`, a dashed line `tolerated`; a week without an interval stays empty.
    """
    figure, axes = _create_plot(5.2, 2.2)
    for at, (_, interval) in enumerate(weeks):
        if interval is not None:
            value, low, high = (100 * each for each in (interval.value, interval.low, interval.high))
            whiskers = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(at, value, yerr=whiskers, color="#3b6ea5", marker="o", markersize=4, capsize=2, linewidth=1)
    if level is not None:
        axes.axhline(100 * level, color="#555555", linewidth=1)
    axes.axhline(100 * tolerated, color="#b3541e", linestyle="--", linewidth=1)
    step = max(1, -(-len(weeks) // 6))
    axes.set_xticks(range(0, len(weeks), step), [week for week, _ in weeks[::step]])
    axes.set_xlim(-0.5, len(weeks) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("WER, %", fontsize=8)
    return _render_png(figure, axes, "week; line: at the release, dashed: tolerated")


def _create_plot(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a new figure of this size, in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=80, layout="constrained")
    return figure, figure.subplots()


def _render_png(figure: Figure, axes: Axes, x_label: str) -> bytes:
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
