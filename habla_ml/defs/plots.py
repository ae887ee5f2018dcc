"""Small plots for metadata, as SVG in Markdown.

The UI shows Markdown below 1,000 characters in place, and longer Markdown only after a click. A plot of matplotlib has
thousands, so these are drawn by hand: one path, the ends of both axes, and a title.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.sax.saxutils import escape

import dagster as dg

from habla_ml.defs.presentation import format_figure

if TYPE_CHECKING:
    from habla_ml.evaluation.scoring.statistics import Interval

_WIDTH: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 45, 390, 20, 90
"""Edges of the drawn area, in pixels."""
_MOST_POINTS: Final = 50
_MOST_BINS: Final = 30
_MOST_BARS: Final = 5
_BAR_PX: Final = 16
_DATA, _MARK = "#48c", "#d62"
_UNQUOTED: Final = " '=:/,;.-+"


def plot_line(points: Sequence[tuple[float, float]], x_label: str, title: str) -> dg.MarkdownMetadataValue:
    """Return a curve through `points`, with 0 at the bottom."""
    shown = points[:: -(-len(points) // _MOST_POINTS)] if points else []
    if points and shown[-1] != points[-1]:
        shown = [*shown, points[-1]]
    highest = max((y for _, y in shown), default=0.0)
    first, last = (shown[0][0], shown[-1][0]) if shown else (0.0, 0.0)
    places = [(_place(x, first, last, _LEFT, _RIGHT), _place(y, 0, highest, _BOTTOM, _TOP)) for x, y in shown]
    path = "M" + "L".join(f"{x} {y}" for x, y in places) if places else ""
    axis = [(_LEFT, format_figure(first)), (_RIGHT - 60, f"{x_label} {format_figure(last)}")]
    return _draw(title, _stroke(path, _DATA), [(2, _TOP + 4, format_figure(highest)), (2, _BOTTOM, "0"), *_below(axis)])


def plot_histogram(
    values: Sequence[float], unit: str, title: str, bound: float | None = None
) -> dg.MarkdownMetadataValue:
    """Return a histogram with a mark at `bound`."""
    import numpy as np

    counts, edges = np.histogram(np.asarray(values, dtype=float), bins=_MOST_BINS)
    highest, low, high = max(1, int(counts.max())), float(edges[0]), float(edges[-1])
    steps = [
        f"V{_place(count, 0, highest, _BOTTOM, _TOP)}H{_place(at + 1, 0, _MOST_BINS, _LEFT, _RIGHT)}"
        for at, count in enumerate(counts)
    ]
    drawn = f"<path d='M{_LEFT} {_BOTTOM}{''.join(steps)}V{_BOTTOM}' fill='{_DATA}'/>"
    if bound is not None and low <= bound <= high:
        drawn += _stroke(f"M{_place(bound, low, high, _LEFT, _RIGHT)} {_TOP}V{_BOTTOM}", _MARK)
    axis = [(_LEFT, format_figure(low)), (_RIGHT - 60, f"{format_figure(high)} {unit}")]
    return _draw(title, drawn, [(2, _TOP + 4, str(highest)), (2, _BOTTOM, "0"), *_below(axis)])


def plot_intervals(rows: Sequence[tuple[str, Interval | None]], title: str) -> dg.MarkdownMetadataValue:
    """Return a bar with its interval for each of the last named shares, in percent; the title says if others are left out."""
    measured = [(name, interval) for name, interval in rows if interval is not None]
    shown = measured[-_MOST_BARS:]
    if len(measured) > len(shown):
        title = f"{title}, last {len(shown)} of {len(measured)}"
    highest = 100 * max((interval.high for _, interval in shown), default=0.0)
    bars, whiskers, labels = "", "", []
    for at, (name, interval) in enumerate(shown):
        y = _TOP + 4 + at * _BAR_PX
        value, low, high = (
            _place(100 * each, 0, highest, _LEFT + 55, _RIGHT - 50)
            for each in (interval.value, interval.low, interval.high)
        )
        bars += f"M{_LEFT + 55} {y}H{value}V{y + 8}H{_LEFT + 55}z"
        whiskers += f"M{low} {y + 4}H{high}"
        labels += [(2, y + 8, name[:14]), (_RIGHT - 45, y + 8, f"{100 * interval.value:.1f} %")]
    height = _TOP + 4 + len(shown) * _BAR_PX
    return _draw(title, f"<path d='{bars}' fill='{_DATA}'/>" + _stroke(whiskers, _MARK), labels, height)


def plot_weekly_rates(
    weeks: Sequence[tuple[str, Interval | None]], level: float | None, tolerated: float, title: str
) -> dg.MarkdownMetadataValue:
    """Return weekly shares with 95 % intervals, in percent; marks show `level` and `tolerated`."""
    measured = [(at, each) for at, (_, each) in enumerate(weeks) if each is not None]
    highest = max([tolerated, *(each.high for _, each in measured)])
    last = max(1, len(weeks) - 1)
    path = "".join(
        f"M{_place(at, 0, last, _LEFT + 4, _RIGHT)} {_place(each.low, 0, highest, _BOTTOM, _TOP)}"
        f"V{_place(each.high, 0, highest, _BOTTOM, _TOP)}"
        for at, each in measured
    )
    values = "L".join(
        f"{_place(at, 0, last, _LEFT + 4, _RIGHT)} {_place(each.value, 0, highest, _BOTTOM, _TOP)}"
        for at, each in measured
    )
    marks = "".join(
        f"M{_LEFT} {_place(each, 0, highest, _BOTTOM, _TOP)}H{_RIGHT}"
        for each in (level, tolerated)
        if each is not None
    )
    drawn = _stroke(marks, _MARK) + _stroke(path + (f"M{values}" if values else ""), _DATA)
    axis = [(_LEFT, weeks[0][0]), (_RIGHT - 60, weeks[-1][0])] if weeks else []
    return _draw(title, drawn, [(2, _TOP + 4, f"{100 * highest:.3g} %"), (2, _BOTTOM, "0"), *_below(axis)])


def _place(value: float, low: float, high: float, start: int, end: int) -> int:
    """Return the pixel of a value on an axis from `low` at `start` to `high` at `end`."""
    return start if high == low else round(start + (value - low) / (high - low) * (end - start))


def _stroke(path: str, colour: str) -> str:
    return f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='1.5'/>"


def _below(axis: Sequence[tuple[int, str]]) -> list[tuple[int, int, str]]:
    return [(x, _BOTTOM + 14, text) for x, text in axis]


def _draw(
    title: str, drawn: str, labels: Sequence[tuple[int, int, str]], height: int = _BOTTOM + 20
) -> dg.MarkdownMetadataValue:
    texts = "".join(f"<text x='{x}' y='{y}'>{escape(text)}</text>" for x, y, text in [(_LEFT, 10, title), *labels])
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{height}'>{drawn}"
        f"<g font-family='sans-serif' font-size='10' fill='#888'>{texts}</g></svg>"
    )
    return dg.MetadataValue.md(f"![{title}](<data:image/svg+xml,{quote(svg, safe=_UNQUOTED)}>)")
