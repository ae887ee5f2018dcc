"""`released_model_quality`: weekly quality and input drift of the released version, and its schedule."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.jobs import WATCH
from habla_ml.defs.monitoring.metadata import build_monitoring_metadata
from habla_ml.defs.partitions import MODEL_OWNERS
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import expect_each_time, request_occasion, schedule_job
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.monitoring.record import MonitoredRelease


def build_released_model_quality(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; it measures the version on the channel."""

    @dg.asset(
        deps=["cdn_release", "annotated_corpus", "raw_recordings", "review_queue"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version=get_code_version("released_model_quality"),
        freshness_policy=expect_each_time(settings.monitoring.cron, settings),
        description=(
            "The version on the release channel, week by week since its release: its word error rate on corrections "
            "that it was not trained on, with 95 % intervals, against its level at the release; and whether loudness, "
            "noise, speakers and words have changed. A sequential rule raises at most one false alarm in "
            f"{settings.monitoring.weeks_between_false_alarms:g} weeks on average. Segments that the review queue chose "
            "as difficult are shown separately and not tested."
        ),
    )
    def released_model_quality(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.monitoring.released_model import watch_release
        from habla_ml.release.channel import read_channel

        opened, store, log = lake.lake(), cdn.store(), context.log.info
        watched = watch_release(opened, store, settings, datetime.now(UTC), log)
        if watched is None:
            return dg.MaterializeResult(
                metadata=build_result_metadata(
                    "no release to watch yet",
                    {"release": "none yet"},
                    "nothing: it begins with the first release",
                    details={"release": "none yet"},
                )
            )
        has_earlier = read_channel(store, settings.release.channel).previous_release() is not None
        rollback = settings.command("rollback") if has_earlier else ""
        return dg.MaterializeResult(
            data_version=dg.DataVersion(watched.object_id),
            metadata=build_monitoring_metadata(
                watched.record,
                rollback,
                {
                    "clips decoded now": watched.decoded,
                    "alerts sent": _send_alerts(opened, watched.record, rollback, settings, context.log.warning),
                    "object": watched.object_id,
                },
            ),
        )

    return released_model_quality


def build_weekly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `monitoring.cron`."""

    @schedule_job(
        WATCH,
        settings.monitoring.cron,
        settings,
        "Scores the released version on last week's corrections and sends an alert on drift.",
    )
    def weekly_watch(context: dg.ScheduleEvaluationContext, cdn: StoreResource) -> dg.RunRequest | dg.SkipReason:
        from habla_ml.release.channel import read_channel

        if read_channel(cdn.store(), settings.release.channel).current is None:
            return dg.SkipReason("the channel has no release yet")
        return request_occasion(WATCH, context)

    return weekly_watch


def _send_alerts(
    lake: "Lake", record: "MonitoredRelease", rollback: str, settings: Settings, warn: Callable[[str], None]
) -> str:
    """Send the new alarms and return where they went; a failed delivery does not discard the record."""
    from habla_ml.errors import ServiceError
    from habla_ml.monitoring.alarms import build_alerts
    from habla_ml.monitoring.alerts import send_once

    outcomes = []
    for alert in build_alerts(record, rollback):
        try:
            outcomes += [f"{alert.key} by {channel}" for channel in send_once(alert, lake, settings.monitoring.alerts)]
        except ServiceError as error:
            warn(str(error))
            outcomes.append(str(error))
    return "; ".join(outcomes) or "nothing new"
