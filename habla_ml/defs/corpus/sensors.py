"""The sensor of new recordings, and how sensors request days.

The cost of a tick depends on what changed. Each decision derives from the lake and the run history, so no cursor can
be lost. A failed run is retried under a new key, at most `MOST_ATTEMPTS` times.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.attempts import MOST_ATTEMPTS, count_attempts
from habla_ml.defs.jobs import INGEST
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.change_detection import ChangedDay

_DAY_TAG, _INPUTS_TAG = "habla_ml/day", "habla_ml/inputs"


def build_recordings_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor of new recordings."""

    @dg.sensor(
        job_name=INGEST,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests days with a finished session that is new or has changed since its last ingest.",
    )
    def new_recordings(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.recordings.change_detection import find_changed_days

        if settings.recordings.folder_problem:
            return dg.SensorResult(skip_reason=settings.recordings.folder_problem)
        days = find_changed_days(settings.recordings.folder, lake.lake(), settings, datetime.now(UTC))
        return request_days(context.instance, INGEST, days)

    return new_recordings


def request_days(instance: dg.DagsterInstance, job_name: str, days: "Iterable[ChangedDay]") -> dg.SensorResult:
    """Request one run for each changed day, unless one is active or this state of the day failed too often."""
    requests, exhausted = [], []
    for each in days:
        tags = {_DAY_TAG: each.day, _INPUTS_TAG: each.fingerprint[:32]}
        attempts = count_attempts(instance, job_name, tags)
        if attempts.can_start:
            key = f"{job_name}:{each.day}:{each.fingerprint[:32]}:{attempts.failed}"
            requests.append(dg.RunRequest(run_key=key, partition_key=each.day, tags=tags))
        elif not attempts.running:
            exhausted.append(each.day)
    if requests:
        return dg.SensorResult(run_requests=requests)
    if exhausted:
        return dg.SensorResult(
            skip_reason=f"failed {MOST_ATTEMPTS} times: {', '.join(exhausted)}; fix the cause, then launch {job_name}"
        )
    return dg.SensorResult(skip_reason="nothing new")
