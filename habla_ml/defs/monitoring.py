"""A watched release as the UI shows it, and the checks that turn at an alarm."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.plots import weeks_with_intervals
from habla_ml.defs.presentation import percent, plot, table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.monitoring.record import RateOfWeek, WatchedRelease

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
        from habla_ml.monitoring.alarms import standing

        record = _watched(lake, cdn, settings)
        weeks = standing(record.alarms, record) if record else ()
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
        from habla_ml.monitoring.alarms import WORDS, standing

        record = _watched(lake, cdn, settings)
        found = {WORDS[each.name]: standing(each.alarms, record) for each in record.inputs} if record else {}
        changed = {name: weeks for name, weeks in found.items() if weeks}
        return dg.AssetCheckResult(
            passed=not changed,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{name}: week of {weeks[-1]}" for name, weeks in changed.items()),
            metadata={"looked at": len(found), "changed": len(changed)},
        )

    return [as_good_as_released, hears_what_it_heard]


def present_watched(record: "WatchedRelease") -> dict[str, Any]:
    """Metadata of a record: counts and figures, as it holds nothing else."""
    released = record.level.rate.value
    shown: dict[str, Any] = {
        "release": record.release,
        "weeks": _weeks(record),
        "inputs": table(_inputs(record), ["input", "before", "no change up to", "last week", "evidence", "note"]),
        "drift": _state(record),
        "tolerated WER %": percent(record.level.tolerated),
    }
    if released is not None:
        shown["WER at the release %"] = percent(released)
    intervals = record.intervals()[-_WEEKS_SHOWN:]
    if any(interval is not None for _, interval in intervals):
        shown["WER by week"] = plot(
            weeks_with_intervals(intervals, released, record.level.tolerated), "WER by week"
        )
    last = next((each.representative for each in reversed(record.weeks) if each.representative), None)
    if last is not None and last.rate.value is not None:
        shown["WER of the last week %"] = percent(last.rate.value)
    return shown


def _watched(lake: StoreResource, cdn: StoreResource, settings: Settings) -> "WatchedRelease | None":
    """The record of the version on the channel, or None."""
    from habla_ml.monitoring.released import load_watched
    from habla_ml.release.channel import read_channel

    current = read_channel(cdn.store(), settings.release.channel).current
    return None if current is None else load_watched(lake.lake(), current.model_version)


def _weeks(record: "WatchedRelease") -> dg.MarkdownMetadataValue:
    drift = {each.week: each for each in record.drift}
    rows = []
    for each in reversed(record.weeks[-_WEEKS_SHOWN:]):
        judged, heard = drift.get(each.week), each.representative
        rows.append(
            {
                "week": each.week,
                "WER %": _rate(heard),
                "words": heard.rate.counts.reference_words if heard else 0,
                "sessions": heard.sessions if heard else 0,
                "excess, SE": judged.excess if judged else None,
                "evidence": judged.evidence if judged else None,
                "note": "ALARM" if judged and judged.alarm else record.untested.get(each.week),
                "chosen as difficult %": _rate(each.uncertain),
            }
        )
    columns = ["week", "WER %", "words", "sessions", "excess, SE", "evidence", "note", "chosen as difficult %"]
    return table(rows, columns)


def _inputs(record: "WatchedRelease") -> list[dict[str, Any]]:
    from habla_ml.monitoring.alarms import WORDS, standing

    rows = []
    for each in record.inputs:
        alarms = standing(each.alarms, record)
        last = [side[-1].evidence for side in (each.rise, each.fall) if side]
        rows.append(
            {
                "input": WORDS[each.name],
                "before": each.level,
                "no change up to": each.allowance,
                "last week": each.weeks[-1].value,
                "evidence": f"{max(last):.2g} of {each.bound:g}" if last else "",
                "note": f"ALARM: week of {alarms[-1]}" if alarms else "",
            }
        )
    return rows


def _state(record: "WatchedRelease") -> str:
    from habla_ml.monitoring.alarms import standing

    if not record.drift:
        return "no week could be tested yet"
    last, alarms = record.drift[-1], standing(record.alarms, record)
    evidence = f"evidence {last.evidence:.3g} after the week of {last.week}, an alarm is {record.bound:g}"
    return f"ALARM in the week of {alarms[-1]}; {evidence}" if alarms else f"none: {evidence}"


def _rate(rate: "RateOfWeek | None") -> str:
    if rate is None or rate.rate.value is None:
        return "–"
    interval = rate.rate.interval
    if interval is None:
        return f"{100 * rate.rate.value:.1f}"
    return f"{100 * rate.rate.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
