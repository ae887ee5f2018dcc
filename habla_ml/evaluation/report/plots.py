"""Plots: rows of SVG that follow the page's width and colours, and small PNGs for other pages."""

from __future__ import annotations

import io
from collections.abc import Sequence

from markupsafe import Markup

from habla_ml.evaluation.statistics import Interval


def interval_row(interval: Interval | None, scale_max: float, series: str) -> Markup:
    """One dot with its whisker on a track from 0 to `scale_max`, as wide as its container.

    `series` is a CSS class that carries the colour; it must be a plain identifier.
    """
    if interval is None or scale_max <= 0:
        return Markup('<svg class="track" width="100%" height="14" aria-hidden="true"></svg>')
    low, value, high = (
        100 * min(max(each, 0.0), scale_max) / scale_max for each in (interval.low, interval.value, interval.high)
    )
    return Markup(
        '<svg class="track {series}" width="100%" height="14" aria-hidden="true">'
        '<line class="axis" x1="0" x2="100%" y1="7" y2="7"/>'
        '<line class="whisker" x1="{low}%" x2="{high}%" y1="7" y2="7"/>'
        '<circle class="dot" cx="{value}%" cy="7" r="4.5"/></svg>'
    ).format(series=series, low=f"{low:.2f}", high=f"{high:.2f}", value=f"{value:.2f}")


def scale_end(intervals: Sequence[Interval | None]) -> float:
    """A round end for an axis from 0 that holds every interval, in steps of 5 points; at least 5 points."""
    highest = max((each.high for each in intervals if each is not None), default=0.0)
    return max(0.05, 0.05 * -(-highest // 0.05))


def bars_with_intervals(
    labels: Sequence[str], intervals: Sequence[Interval | None], title: str, unit: str = "WER, %"
) -> bytes:
    """Horizontal bars with 95 % whiskers as a small PNG (under 40 kB); shares are drawn as percent.

    A missing interval leaves its row empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 0.9 + 0.34 * max(len(labels), 1)), layout="constrained")
    axes = figure.add_subplot()
    for row, interval in enumerate(intervals):
        if interval is None:
            continue
        value = 100 * interval.value
        below, above = max(0.0, value - 100 * interval.low), max(0.0, 100 * interval.high - value)
        axes.barh(row, value, color="#4c8fb5", height=0.62)
        axes.errorbar(value, row, xerr=[[below], [above]], color="#1d3a4a", capsize=3, linewidth=1.2)
        axes.annotate(
            f"{value:.1f}", (100 * interval.high, row), xytext=(5, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), [label[:40] for label in labels], fontsize=8)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.set_xlabel(unit, fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    for text in (axes.title, *axes.get_yticklabels()):
        text.set_parse_math(False)
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()
