"""Metadata of a monitored release: weekly error rates, inputs and drift."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.plots import plot_weekly_rates
from habla_ml.defs.presentation import plot, table, to_percent

if TYPE_CHECKING:
    from habla_ml.monitoring.record import MonitoredRelease, WeeklyRate

_WEEKS_SHOWN = 26


def build_monitoring_metadata(record: "MonitoredRelease") -> dict[str, Any]:
    """Return counts and figures of a record, which contains nothing else."""
    released = record.level.rate.value
    shown: dict[str, Any] = {
        "release": record.release,
        "weeks": _tabulate_weeks(record),
        "inputs": _tabulate_inputs(record),
        "drift": _describe_drift(record),
        "tolerated WER %": to_percent(record.level.tolerated),
    }
    if released is not None:
        shown["WER at the release %"] = to_percent(released)
    intervals = record.intervals()[-_WEEKS_SHOWN:]
    if any(interval is not None for _, interval in intervals):
        shown["WER by week"] = plot(plot_weekly_rates(intervals, released, record.level.tolerated), "WER by week")
    last = next((each.representative for each in reversed(record.weeks) if each.representative), None)
    if last is not None and last.rate.value is not None:
        shown["WER of the last week %"] = to_percent(last.rate.value)
    return shown


def _tabulate_weeks(record: "MonitoredRelease") -> dg.MarkdownMetadataValue:
    drift = {each.week: each for each in record.drift}
    rows = []
    for each in reversed(record.weeks[-_WEEKS_SHOWN:]):
        tested, measured = drift.get(each.week), each.representative
        rows.append(
            {
                "week": each.week,
                "WER %": _format_weekly_rate(measured),
                "words": measured.rate.counts.reference_words if measured else 0,
                "sessions": measured.sessions if measured else 0,
                "excess, SE": tested.excess if tested else None,
                "evidence": tested.evidence if tested else None,
                "note": "ALARM" if tested and tested.alarm else record.untested.get(each.week),
                "chosen as difficult %": _format_weekly_rate(each.uncertain),
            }
        )
    columns = ["week", "WER %", "words", "sessions", "excess, SE", "evidence", "note", "chosen as difficult %"]
    return table(rows, columns)


def _tabulate_inputs(record: "MonitoredRelease") -> dg.MarkdownMetadataValue:
    from habla_ml.monitoring.alarms import INPUT_LABELS, active_alarms

    rows = []
    for each in record.inputs:
        alarms = active_alarms(each.alarms, record)
        last = [side[-1].evidence for side in (each.rise, each.fall) if side]
        evidence = f"{max(last):.2g} of {each.bound:g}" if last else ""
        note = f"ALARM: week of {alarms[-1]}" if alarms else ""
        rows.append((INPUT_LABELS[each.name], each.level, each.allowance, each.weeks[-1].value, evidence, note))
    columns = ["input", "before", "no change up to", "last week", "evidence", "note"]
    return table((dict(zip(columns, row, strict=True)) for row in rows), columns)


def _describe_drift(record: "MonitoredRelease") -> str:
    from habla_ml.monitoring.alarms import active_alarms

    if not record.drift:
        return "no week could be tested yet"
    last, alarms = record.drift[-1], active_alarms(record.alarms, record)
    evidence = f"evidence {last.evidence:.3g} after the week of {last.week}, an alarm is {record.bound:g}"
    return f"ALARM in the week of {alarms[-1]}; {evidence}" if alarms else f"none: {evidence}"


def _format_weekly_rate(rate: "WeeklyRate | None") -> str:
    if rate is None or rate.rate.value is None:
        return "–"
    interval = rate.rate.interval
    if interval is None:
        return f"{100 * rate.rate.value:.1f}"
    return f"{100 * rate.rate.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
