"""Checks that fail while an alarm of the monitored release is active."""

from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.monitoring.record import MonitoredRelease


def build_monitoring_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks on the error rate and on the inputs of the released model."""
    bound = settings.monitoring.weeks_between_false_alarms

    @dg.asset_check(
        asset="released_model_quality",
        description=(
            "No drift of the error rate was found in the last four weeks: the evidence of a rise above the tolerated "
            f"level stayed below {bound:g}, so that an alarm is false once in {bound:g} weeks on average. If it fails, "
            f"find the cause, or return to the release before with `{settings.command('rollback')}`."
        ),
    )
    def as_good_as_released(lake: StoreResource, cdn: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.alarms import active_alarms

        record = _load_current_release(lake, cdn, settings)
        weeks = active_alarms(record.alarms, record) if record else ()
        return dg.AssetCheckResult(
            passed=not weeks,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"more errors than at the release, found in the week of {weeks[-1]}"
            if weeks
            else "no alarm is active",
            metadata={"weeks of alarm": ", ".join(weeks) or "none"},
        )

    @dg.asset_check(
        asset="released_model_quality",
        name="hears_what_it_heard",
        description=(
            "In the last four weeks loudness, noise, speakers and words are as before the release; all of these "
            f"together raise a false alarm once in {bound:g} weeks on average. If it fails, look at the "
            "microphone, the room and who speaks."
        ),
    )
    def inputs_are_unchanged(lake: StoreResource, cdn: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.alarms import INPUT_LABELS, active_alarms

        record = _load_current_release(lake, cdn, settings)
        inputs = record.inputs if record else ()
        alarms = {INPUT_LABELS[each.name]: active_alarms(each.alarms, record) for each in inputs if record}
        changed = {name: weeks for name, weeks in alarms.items() if weeks}
        return dg.AssetCheckResult(
            passed=not changed,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{name}: week of {weeks[-1]}" for name, weeks in changed.items())
            or "no alarm is active",
            metadata={"inputs": len(alarms), "changed": len(changed)},
        )

    return [as_good_as_released, inputs_are_unchanged]


def _load_current_release(lake: StoreResource, cdn: StoreResource, settings: Settings) -> "MonitoredRelease | None":
    """Return the record of the version on the channel, or None."""
    from habla_ml.monitoring.released_model import load_monitored_release
    from habla_ml.release.channel import read_channel

    current = read_channel(cdn.store(), settings.release.channel).current
    return None if current is None else load_monitored_release(lake.lake(), current.model_version)
