"""Plots: SVG rows in the width and colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from habla_ml.evaluation.metrics.confidence import ConfidenceBin
from habla_ml.evaluation.scoring.statistics import Interval

_CHART_HEIGHT = 170
_PLOT_TOP, _PLOT_BOTTOM = 22, 145
_AXIS_LABELS_PERCENT = 12
"""Width of the axis labels."""
_MAX_LABELS = 6
_MAX_LABEL_CHARACTERS = 12


def draw_versions_chart(history: Sequence[tuple[str, Interval]], focus: str) -> Markup:
    """Draw the rate of every version with its interval, the oldest on the left, as wide as the container.

    About six versions have labels, including `focus` and the last one.
    """
    scale = round_axis_end([each for _, each in history])
    step = (100 - _AXIS_LABELS_PERCENT) / max(1, len(history))
    every = -(-len(history) // _MAX_LABELS)
    points = [
        (f"{_AXIS_LABELS_PERCENT + (at + 0.5) * step:.2f}", _to_chart_y(each.value, scale))
        for at, (_, each) in enumerate(history)
    ]
    drawn = [_draw_grid_line(scale, share) for share in (0.0, scale / 2, scale)]
    trend = Markup('<line class="trend" x1="{}%" y1="{}" x2="{}%" y2="{}"/>')
    drawn += [trend.format(*start, *end) for start, end in pairwise(points)]
    for at, ((name, each), (x, y)) in enumerate(zip(history, points, strict=True)):
        label, high = Markup(""), _to_chart_y(each.high, scale)
        if name == focus or (len(history) - 1 - at) % every == 0:
            shown = name if len(name) <= _MAX_LABEL_CHARACTERS else f"{name[: _MAX_LABEL_CHARACTERS - 1]}…"
            label = Markup(
                '<text class="value" x="{x}%" y="{above}">{value:.1f}</text><text x="{x}%" y="163">{name}</text>'
            ).format(x=x, above=high - 6, value=100 * each.value, name=shown)
        drawn.append(
            Markup(
                '<g class="{css}"><line class="whisker" x1="{x}%" x2="{x}%" y1="{low}" y2="{high}"/>'
                '<circle class="dot" cx="{x}%" cy="{y}" r="4.5"/>{label}</g>'
            ).format(
                css="candidate" if name == focus else "past",
                x=x,
                low=_to_chart_y(each.low, scale),
                high=high,
                y=y,
                label=label,
            )
        )
    return Markup('<svg class="versions" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        _CHART_HEIGHT, Markup("").join(drawn)
    )


def _to_chart_y(share: float, scale: float) -> float:
    return round(_PLOT_BOTTOM - (_PLOT_BOTTOM - _PLOT_TOP) * min(max(share, 0.0), scale) / scale, 1)


def _draw_grid_line(scale: float, share: float) -> Markup:
    return Markup(
        '<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        '<text class="tick" x="0" y="{above}">{label:g}\u00a0%</text>'
    ).format(y=_to_chart_y(share, scale), above=_to_chart_y(share, scale) - 4, label=round(100 * share, 1))


_DIAGRAM_SIZE = 240


def draw_reliability_diagram(bins: Sequence[ConfidenceBin], series: str) -> Markup:
    """Draw confidence against accuracy; the area of a dot is its share of the words, the line is perfect calibration.

    `series` is the CSS class of the colour and must be a plain identifier.
    """
    most = max((each.words for each in bins), default=1)
    dot = Markup('<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>')
    dots = Markup("").join(
        dot.format(
            x=_DIAGRAM_SIZE * each.confidence,
            y=_DIAGRAM_SIZE * (1 - each.accuracy),
            r=2 + 9 * math.sqrt(each.words / most),
        )
        for each in bins
    )
    return Markup(
        '<svg class="reliability {series}" viewBox="-46 -14 {whole} {high}" width="{whole}" aria-hidden="true">'
        '<path class="axis" d="M0 0V{size}H{size}"/><path class="trend" d="M0 {size}L{size} 0"/>{dots}'
        '<text x="0" y="{below}">0 %</text><text x="{size}" y="{below}">100 %</text>'
        '<text x="{half}" y="{below}">confidence</text><text x="-8" y="5" class="left">100 %</text>'
        '<text x="-8" y="{half}" class="left">right</text></svg>'
    ).format(
        series=series,
        size=_DIAGRAM_SIZE,
        whole=_DIAGRAM_SIZE + 80,
        high=_DIAGRAM_SIZE + 44,
        half=_DIAGRAM_SIZE // 2,
        below=_DIAGRAM_SIZE + 20,
        dots=dots,
    )


def round_axis_end(intervals: Sequence[Interval | None]) -> float:
    """Return the end of an axis from 0 that holds every interval, in steps of 5 points; at least 5 points."""
    highest = max((each.high for each in intervals if each is not None), default=0.0)
    return max(0.05, 0.05 * -(-highest // 0.05))
