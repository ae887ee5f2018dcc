"""Metadata of a monitored release: weekly error rates, inputs and drift."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from habla_ml.defs.plots import plot_weekly_rates
from habla_ml.defs.presentation import table, to_percent
from habla_ml.defs.result_metadata import build_result_metadata

if TYPE_CHECKING:
    from habla_ml.monitoring.record import MonitoredRelease, WeeklyRate

_WEEKS_SHOWN = 26
_PLOT_TITLE: Final = "WER by week; lines: at the release, and tolerated"


def build_monitoring_metadata(
    record: "MonitoredRelease", rollback: str, details: Mapping[str, Any]
) -> dict[str, dg.MetadataValue]:
    """Return counts and figures of a record, which contains nothing else.

    Args:
        record: The released version, week by week.
        rollback: The command that returns to the release before; empty where there is none.
        details: More entries for the end.
    """
    from habla_ml.monitoring.alarms import active_alarms

    released, drift = record.level.rate.value, _describe_drift(record)
    intervals = record.intervals()[-_WEEKS_SHOWN:]
    last = next((each.representative for each in reversed(record.weeks) if each.representative), None)
    last_wer = None if last is None or last.rate.value is None else to_percent(last.rate.value)
    is_measured = any(interval is not None for _, interval in intervals)
    plotted = plot_weekly_rates(intervals, released, record.level.tolerated, _PLOT_TITLE) if is_measured else None
    at_release = None if released is None else to_percent(released)
    return build_result_metadata(
        f"release {record.release}, week by week",
        {
            "WER of the last week": "not measured" if last_wer is None else f"{last_wer:.1f} %",
            "WER at the release": None if at_release is None else f"{at_release:.1f} %",
            "tolerated": f"{to_percent(record.level.tolerated):.1f} %",
            "weeks measured": sum(interval is not None for _, interval in record.intervals()),
        },
        "find the cause" + (f"; `{rollback}` returns to the release before" if rollback else "")
        if active_alarms(record.alarms, record)
        else "nothing: correct some clips each week, so that the next week can be measured",
        details={
            "WER by week": plotted,
            "drift": drift,
            "weeks": _tabulate_weeks(record),
            "inputs": _tabulate_inputs(record),
            "release": record.release,
            "WER of the last week %": last_wer,
            "WER at the release %": at_release,
            "tolerated WER %": to_percent(record.level.tolerated),
            **details,
        },
    )


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
