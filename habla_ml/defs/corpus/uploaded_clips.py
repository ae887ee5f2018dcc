"""`uploaded_clips`: one UTC hour of received clips in the days of their recording, and its sensor.

A clip can be of an earlier day than its receipt, so no mapping of partitions leads from hours to days. The run of an
hour therefore records a materialisation of `raw_recordings` for each day that it has changed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.corpus.partition_requests import ChangedPartition, RequestedJob, request_partitions
from habla_ml.defs.jobs import INGEST_UPLOADS
from habla_ml.defs.partitions import DATA_OWNERS, received_hours, recording_days
from habla_ml.defs.presentation import link_service_page, table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.errors import IsolatedError, isolate
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.inbox.database import Database
    from habla_ml.lake import Lake
    from habla_ml.recordings.uploads import IngestedHour

HOUR_TAG: Final = "habla_ml/hour"
UPLOADS_POOL: Final = "uploads"
"""Hours share days, so that one is ingested at a time, and none during an erasure; `pools.default_limit` in dagster.yaml is 1."""
_MOST_HOURS: Final = 24
"""Hours that wait, run or are requested at once; a backlog is requested oldest first."""
_NOT_STARTED: Final = "the service of this deployment was never started, so that nothing was received"


class UploadedClipsConfig(dg.Config):
    """Set `read_again` to read the clips of the hour that were set aside once more, after their cause was removed."""

    read_again: bool = False


def build_uploaded_clips(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by UTC hour of receipt."""

    @dg.asset(
        partitions_def=received_hours(settings),
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet", "flac"},
        code_version=get_code_version("uploaded_clips"),
        pool=UPLOADS_POOL,
        description=(
            "One UTC hour of clips that the service received, decoded and stored as segments of the day of their "
            "recording, under the same consents and tombstones as Habla's. A clip that cannot be used is set aside "
            "with a reason and stops no other. A clip is read once, so that the present hour can run again and again."
        ),
    )
    def uploaded_clips(
        context: dg.AssetExecutionContext, config: UploadedClipsConfig, lake: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.inbox.clip_files import open_clip_store
        from habla_ml.inbox.database import open_existing_database
        from habla_ml.inbox.unread_clips import requeue_set_aside_clips
        from habla_ml.recordings.uploads import ingest_hour

        opened, hour, now = lake.lake(), context.partition_key, datetime.now(UTC)
        with open_existing_database(settings) as database:
            if database is None:
                return dg.MaterializeResult(
                    metadata=build_result_metadata(
                        _NOT_STARTED,
                        {"received": 0},
                        f"start it with `{settings.command('serve')}`",
                        details={"received": 0},
                    )
                )
            if config.read_again:
                requeue_set_aside_clips(database, hour)
            ingested = ingest_hour(hour, opened, database, open_clip_store(settings), settings, now)
            for day in ingested.days:
                _record_day(context, opened, day, settings)
            return _describe_hour(database, ingested, settings)

    return uploaded_clips


def build_uploads_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor of received clips."""
    explain = partial(_explain_outside, settings)
    job = RequestedJob(INGEST_UPLOADS, received_hours(settings), HOUR_TAG, explain, _MOST_HOURS)

    @dg.sensor(
        job_name=INGEST_UPLOADS,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Requests hours with received clips that are not in the lake. Costs what is unread, and once after a restore a "
            "comparison of what was received with the lake."
        ),
    )
    def new_uploads(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.annotation.restored_inbox import requeue_lost_inputs
        from habla_ml.consent.admission import load_consents
        from habla_ml.inbox.database import open_existing_database
        from habla_ml.inbox.unread_clips import date_future_clips, find_unread_hours, requeue_waiting_clips
        from habla_ml.lake import compute_digest

        messages: list[str] = []

        def find_hours(errors: list[IsolatedError]) -> Iterator[ChangedPartition]:
            with open_existing_database(settings) as database:
                if database is None:
                    messages.append(_NOT_STARTED)
                    return
                with isolate("restored lake", errors):
                    messages.extend(filter(None, [requeue_lost_inputs(lake.lake(), database)]))
                with isolate("consents", errors):
                    requeue_waiting_clips(database, load_consents(settings, datetime.now(UTC)).unchanged_since)
                if ahead := date_future_clips(database, datetime.now(UTC)):
                    messages.append(f"{ahead} clips were received by a clock that was ahead, and count as received now")
                for each in find_unread_hours(database):
                    state = [each.hour, each.clips, each.newest_at.isoformat()]
                    yield ChangedPartition(each.hour, compute_digest(state))

        return request_partitions(context, job, find_hours, settings, messages)

    return new_uploads


def _explain_outside(settings: Settings, hour: str) -> str:
    if hour > f"{datetime.now(UTC):%Y-%m-%dT%H}":
        return "is after the present hour, by a clock of the service that was ahead; its clips wait for a day at most"
    return f"is before recordings.first_day ({settings.recordings.first_day}); set an earlier first_day"


def _record_day(context: dg.AssetExecutionContext, lake: "Lake", day: str, settings: Settings) -> None:
    """Record that the day has other recordings now."""
    from habla_ml.recordings.days import load_day

    published = load_day(lake, day)
    if published is None or not recording_days(settings).has_partition_key(day):
        return
    context.log_event(
        dg.AssetMaterialization(
            "raw_recordings",
            description="clips that were uploaded joined this day",
            partition=day,
            metadata=build_result_metadata(
                f"the recordings of {day}, with clips that were uploaded",
                {"segments": published.segments, "hours": published.hours},
                "nothing: a sensor builds the text of the day",
                details={"segments": published.segments, "hours": published.hours, "object": published.parquet},
            ),
            tags={"dagster/data_version": published.parquet},
        )
    )


def _describe_hour(database: "Database", ingested: "IngestedHour", settings: Settings) -> dg.MaterializeResult:
    """Return the state of the whole hour, and what this run did. Reasons are shown without values, and no name is."""
    from habla_ml.inbox.unread_clips import read_hour
    from habla_ml.lake import compute_digest
    from habla_ml.recordings.uploads import count_reasons

    hour = read_hour(database, ingested.hour)
    reasons = count_reasons(hour.set_aside.values())
    details: dict[str, Any] = {
        "received": hour.clips,
        "segments": len(hour.segments),
        "read now": ingested.segments + ingested.set_aside + ingested.waiting + ingested.refused,
        "new segments": ingested.segments,
        "new hours": ingested.seconds / 3600,
        "new without a credible date": ingested.dated_by_receipt,
        "refused now": ingested.refused,
        "waiting for a consent": hour.waiting_for_consent,
        "set aside": len(hour.set_aside),
        "reasons": table(({"reason": name, "clips": count} for name, count in reasons.items()), ["reason", "clips"]),
        "days changed now": table(({"day": each} for each in ingested.days), ["day"]),
    }
    metadata = build_result_metadata(
        f"the clips that the service received in the hour {ingested.hour} UTC",
        {
            "received": hour.clips,
            "segments": len(hour.segments),
            "waiting for a consent": hour.waiting_for_consent,
            "set aside": len(hour.set_aside),
        },
        _find_next_step(len(hour.set_aside), hour.waiting_for_consent),
        page=link_service_page(settings, "/status"),
        details=details,
    )
    return dg.MaterializeResult(data_version=dg.DataVersion(compute_digest(dict(hour.segments))), metadata=metadata)


def _find_next_step(set_aside: int, waiting: int) -> str:
    if set_aside:
        return (
            "remove the cause of what is set aside, then materialise this hour with `read_again: true`; what the device "
            "sent wrongly stays out"
        )
    if waiting:
        return "record the consents that are missing; the clips then come in by themselves"
    return "nothing: the sensor `service_corrections` builds the text of the changed days"
