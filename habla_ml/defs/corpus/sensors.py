"""The sensor of new recordings. The cost of a tick depends on what changed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.corpus.day_requests import request_days
from habla_ml.defs.jobs import INGEST
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import IsolatedError
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.change_detection import ChangedDay


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
        from habla_ml.recordings.skipped_sessions import summarise_wrong_dates

        folder = settings.recordings.folder
        if settings.recordings.folder_problem:
            return dg.SensorResult(skip_reason=settings.recordings.folder_problem)

        def find_days(errors: list[IsolatedError]) -> "Iterator[ChangedDay]":
            now = datetime.now(UTC)
            if summary := summarise_wrong_dates(folder, settings, now):
                errors.append(IsolatedError("sessions", summary))
            yield from find_changed_days(folder, lake.lake(), settings, now, errors)

        return request_days(context, INGEST, find_days, settings)

    return new_recordings
