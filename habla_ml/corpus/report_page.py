"""The corpus report as one HTML page: its plots and the format of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from operator import attrgetter

from markupsafe import Markup

from habla_ml.corpus.report import CorpusReport, DaySummary, Hours, VocabularyPoint
from habla_ml.corpus.snapshot import Snapshot, Split
from habla_ml.html import open_template
from habla_ml.tables import TableCell, TableColumn, TextTable

_MAX_SPEAKERS = 12
_MAX_BARS = 70
"""More bars than this are too narrow on a phone: days are grouped into weeks, weeks into months."""
_PLOT_HEIGHT = 120


@dataclass(frozen=True)
class ChartBar:
    """One bar of a plot: a period or a level."""

    label: str
    note: str
    """Tooltip."""
    back: float
    """Height of the pale bar behind, in any unit."""
    front: float


def render_corpus_report(report: CorpusReport) -> str:
    """Return the whole page; the same report gives the same bytes."""
    formats = {"hours": _format_hours, "percent": _format_percent, "count": _format_count}
    template = open_template("habla_ml.corpus", "corpus_report.html.j2", **formats)
    periods, unit = _group_into_periods(report.days)
    rows = (*report.speakers[:_MAX_SPEAKERS], *report.roles)
    return template.render(
        report=report,
        tables=_build_tables(report, periods, unit),
        unit=unit,
        hours_by_period=bars([_make_hours_bar(each) for each in periods]),
        share_by_period=bars([_make_share_bar(each) for each in periods], top=1.0, css_class="share"),
        hours_top=max((each.recorded_h for each in periods), default=0.0),
        periods=periods,
        loudness=bars([_make_loudness_bar(low, each) for low, each in report.loudness]),
        loudness_top=max((each.recorded_h for _, each in report.loudness), default=0.0),
        loudness_labels=[low for low, _ in report.loudness],
        speakers=report.speakers[:_MAX_SPEAKERS],
        other_speakers=_merge_speakers(report.speakers[_MAX_SPEAKERS:]),
        row=_draw_row,
        scale_h=max((max(each.recorded_h, each.usable_h) for each in rows), default=0.0),
        vocabulary=curve(report.vocabulary),
        flagged=[(reason, list(members)) for reason, members in groupby(report.flagged, key=attrgetter("reason"))],
    )


def _build_tables(report: CorpusReport, periods: Sequence[DaySummary], unit: str) -> dict[str, TextTable]:
    count, hours = _format_count, _format_hours
    columns = {"segments": count, "recorded_h": hours, "annotated": count, "usable": count, "usable_h": hours}
    tables = {
        "periods": TextTable.of(
            f"Hours by {unit}",
            [unit, "segments", "recorded", "annotated", "usable", "usable time"],
            [[each.day, *(form(getattr(each, name)) for name, form in columns.items())] for each in periods],
        ),
        "conventions": TextTable.of(
            "Conventions",
            ["In use", "days"],
            [[TableCell(each.title, each.digest[:12]), count(each.days)] for each in report.conventions],
        ),
        "violations": _build_count_table("rule", report.violations),
        "confirmed": _build_count_table("rule", report.confirmed),
        "problems": _build_count_table("problem", report.problems),
        "flagged_counts": _build_count_table("flag", report.flagged_counts),
    }
    if report.snapshot is not None:
        tables["snapshot"] = _build_snapshot_table(report.snapshot, report.blind)
    return tables


def _build_count_table(label: str, counts: Mapping[str, int]) -> TextTable:
    rows = [[name, _format_count(count)] for name, count in counts.items()]
    return TextTable.of(f"Segments by {label}", [label, "segments"], rows)


def _build_snapshot_table(snapshot: Snapshot, blind: Mapping[Split, int]) -> TextTable:
    rows = [
        [
            split,
            f"{_format_hours(hours)}, {_format_count(snapshot.counts[split])} segments, "
            f"{_format_count(blind.get(split, 0))} with a blind reference",
        ]
        for split, hours in snapshot.hours.items()
    ]
    if snapshot.near_duplicates is not None:
        dropped = [f"{_format_count(n)} of {split}" for split, n in snapshot.near_duplicates.items() if n]
        rows.append(["Dropped near-duplicates", ", ".join(dropped) or "none"])
    rows.append(["Snapshot", snapshot.id])
    rows.append(["Conventions", f"{snapshot.conventions} · {snapshot.conventions_digest}"])
    return TextTable.of("Newest snapshot", [TableColumn("", is_numeric=False)] * 2, rows)


def bars(values: Sequence[ChartBar], top: float | None = None, css_class: str = "") -> Markup:
    """Draw vertical bars over the full width; `top` is the value at full height (None: the largest value)."""
    highest = top or max((max(each.back, each.front) for each in values), default=0.0) or 1.0
    step = 100 / max(1, len(values))
    bar = Markup(
        '<g><title>{note}</title><rect class="hit" x="{left:.3f}%" width="{step:.3f}%" y="0" height="{whole}"/>'
        '<rect class="back" x="{x:.3f}%" width="{width:.3f}%" y="{back_y:.1f}" height="{back:.1f}"/>'
        '<rect class="front" x="{x:.3f}%" width="{width:.3f}%" y="{front_y:.1f}" height="{front:.1f}"/></g>'
    )
    drawn = []
    for at, each in enumerate(values):
        back, front = _PLOT_HEIGHT * each.back / highest, _PLOT_HEIGHT * each.front / highest
        drawn.append(
            bar.format(
                note=each.note,
                left=at * step,
                step=step,
                whole=_PLOT_HEIGHT,
                x=(at + 0.08) * step,
                width=0.84 * step,
                back_y=_PLOT_HEIGHT - back,
                back=back,
                front_y=_PLOT_HEIGHT - front,
                front=front,
            )
        )
    return Markup('<svg class="bars {css_class}" width="100%" height="{height}" role="img">{drawn}</svg>').format(
        css_class=css_class, height=_PLOT_HEIGHT, drawn=Markup("").join(drawn)
    )


def curve(points: Sequence[VocabularyPoint]) -> Markup:
    """Draw a line from (0, 0) to the last point over the full width; empty with fewer than two points."""
    if len(points) < 2 or not points[-1].words:
        return Markup("")
    right, top = points[-1].words, points[-1].distinct or 1
    path = " ".join(f"{1000 * p.words / right:.1f},{_PLOT_HEIGHT * (1 - p.distinct / top):.1f}" for p in points)
    return Markup(
        '<svg class="curve" width="100%" height="{height}" viewBox="0 0 1000 {height}" preserveAspectRatio="none" '
        'role="img"><polyline points="{path}"/></svg>'
    ).format(height=_PLOT_HEIGHT, path=path)


def _group_into_periods(days: Sequence[DaySummary]) -> tuple[list[DaySummary], str]:
    """Return the days, or weeks or months if there are too many to draw, and the name of the unit."""
    if len(days) <= _MAX_BARS:
        return list(days), "day"
    weeks = [_sum_days(name, list(members)) for name, members in groupby(days, key=_find_monday)]
    if len(weeks) <= _MAX_BARS:
        return weeks, "week"
    months = groupby(days, key=lambda each: each.day[:7])
    return [_sum_days(name, list(members)) for name, members in months], "month"


def _find_monday(line: DaySummary) -> str:
    day = date.fromisoformat(line.day)
    return (day - timedelta(days=day.weekday())).isoformat()


def _sum_days(name: str, lines: Sequence[DaySummary]) -> DaySummary:
    columns = ("segments", "recorded_h", "annotated", "usable", "usable_h")
    return DaySummary(name, **{column: sum(getattr(each, column) for each in lines) for column in columns})


def _merge_speakers(speakers: Sequence[Hours]) -> Hours | None:
    if not speakers:
        return None
    recorded, usable = sum(each.recorded_h for each in speakers), sum(each.usable_h for each in speakers)
    return Hours(f"{len(speakers)} others", recorded, usable)


def _make_hours_bar(line: DaySummary) -> ChartBar:
    note = f"{line.day}: {_format_hours(line.recorded_h)} recorded, {_format_hours(line.usable_h)} with a usable transcript"
    return ChartBar(line.day, note, line.recorded_h, line.usable_h)


def _make_share_bar(line: DaySummary) -> ChartBar:
    share = line.annotated / line.segments if line.segments else 0.0
    note = f"{line.day}: {line.annotated} of {line.segments} segments, {_format_percent(share)}"
    return ChartBar(line.day, note, 1.0, share)


def _make_loudness_bar(low: int, each: Hours) -> ChartBar:
    return ChartBar(str(low), f"{each.name}: {_format_hours(each.recorded_h)} recorded", each.recorded_h, each.usable_h)


def _draw_row(each: Hours, scale_h: float) -> Markup:
    """Draw one horizontal bar, pale for recorded hours and full for usable hours."""
    back, front = (100 * hours / scale_h if scale_h else 0.0 for hours in (each.recorded_h, each.usable_h))
    return Markup(
        '<svg class="bars flat" width="100%" height="12" aria-hidden="true">'
        '<rect class="back" width="{back:.2f}%" height="12" rx="2"/>'
        '<rect class="front" width="{front:.2f}%" height="12" rx="2"/></svg>'
    ).format(back=back, front=front)


def _format_hours(hours: float) -> str:
    """Return `1 h 05 min`, only minutes below one hour, and only hours from 100 hours on."""
    minutes = round(60 * hours)
    if minutes < 60:
        return f"{60 * hours:.1f}\u00a0min" if hours and minutes < 10 else f"{minutes}\u00a0min"
    if hours >= 100:
        return f"{_format_count(round(hours))}\u00a0h"
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def _format_percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _format_count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")
