"""A watched release as the UI shows it, and the checks that turn at an alarm."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.plots import plot_weekly_rates
from habla_ml.defs.presentation import plot, table, to_percent
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.monitoring.record import MonitoredRelease, WeeklyRate

_WEEKS_SHOWN = 26


def build_monitoring_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Whether the release stands where it stood, and whether it hears what it heard."""
    bound = settings.monitoring.weeks_between_false_alarms

    @dg.asset_check(
        asset="released_model_quality",
        description=(
            "In the last four weeks no drift of the error rate was found: the evidence of a rise above what is "
            f"tolerated stayed below {bound:g}, so an alarm is false once in {bound:g} weeks on average."
        ),
    )
    def as_good_as_released(lake: StoreResource, cdn: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.alarms import active_alarms

        record = _load_current_release(lake, cdn, settings)
        weeks = active_alarms(record.alarms, record) if record else ()
        return dg.AssetCheckResult(
            passed=not weeks,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"more errors than at the release, found in the week of {weeks[-1]}" if weeks else "",
            metadata={"weeks of alarm": ", ".join(weeks) or "none"},
        )

    @dg.asset_check(
        asset="released_model_quality",
        description=(
            "In the last four weeks loudness, noise, speakers and words were those of the weeks before the release; "
            f"all of these together raise a false alarm once in {bound:g} weeks on average."
        ),
    )
    def hears_what_it_heard(lake: StoreResource, cdn: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.alarms import INPUT_LABELS, active_alarms

        record = _load_current_release(lake, cdn, settings)
        found = (
            {INPUT_LABELS[each.name]: active_alarms(each.alarms, record) for each in record.inputs}
            if record
            else {}
        )
        changed = {name: weeks for name, weeks in found.items() if weeks}
        return dg.AssetCheckResult(
            passed=not changed,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{name}: week of {weeks[-1]}" for name, weeks in changed.items()),
            metadata={"looked at": len(found), "changed": len(changed)},
        )

    return [as_good_as_released, hears_what_it_heard]


def build_monitoring_metadata(record: "MonitoredRelease") -> dict[str, Any]:
    """Metadata of a record: counts and figures, as it holds nothing else."""
    released = record.level.rate.value
    shown: dict[str, Any] = {
        "release": record.release,
        "weeks": _tabulate_weeks(record),
        "inputs": table(
            _tabulate_inputs(record), ["input", "before", "no change up to", "last week", "evidence", "note"]
        ),
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


def _load_current_release(
    lake: StoreResource, cdn: StoreResource, settings: Settings
) -> "MonitoredRelease | None":
    """The record of the version on the channel, or None."""
    from habla_ml.monitoring.released_model import load_monitored_release
    from habla_ml.release.channel import read_channel

    current = read_channel(cdn.store(), settings.release.channel).current
    return None if current is None else load_monitored_release(lake.lake(), current.model_version)


def _tabulate_weeks(record: "MonitoredRelease") -> dg.MarkdownMetadataValue:
    drift = {each.week: each for each in record.drift}
    rows = []
    for each in reversed(record.weeks[-_WEEKS_SHOWN:]):
        judged, heard = drift.get(each.week), each.representative
        rows.append(
            {
                "week": each.week,
                "WER %": _format_weekly_rate(heard),
                "words": heard.rate.counts.reference_words if heard else 0,
                "sessions": heard.sessions if heard else 0,
                "excess, SE": judged.excess if judged else None,
                "evidence": judged.evidence if judged else None,
                "note": "ALARM" if judged and judged.alarm else record.untested.get(each.week),
                "chosen as difficult %": _format_weekly_rate(each.uncertain),
            }
        )
    columns = ["week", "WER %", "words", "sessions", "excess, SE", "evidence", "note", "chosen as difficult %"]
    return table(rows, columns)


def _tabulate_inputs(record: "MonitoredRelease") -> list[dict[str, Any]]:
    from habla_ml.monitoring.alarms import INPUT_LABELS, active_alarms

    rows = []
    for each in record.inputs:
        alarms = active_alarms(each.alarms, record)
        last = [side[-1].evidence for side in (each.rise, each.fall) if side]
        rows.append(
            {
                "input": INPUT_LABELS[each.name],
                "before": each.level,
                "no change up to": each.allowance,
                "last week": each.weeks[-1].value,
                "evidence": f"{max(last):.2g} of {each.bound:g}" if last else "",
                "note": f"ALARM: week of {alarms[-1]}" if alarms else "",
            }
        )
    return rows


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
