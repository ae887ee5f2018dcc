"""Try a scheduled run again that a fault of the environment ended, instead of waiting for the next week.

The schedule tags its run with the occasion. The newest run of the job decides: a later success, or a run that a person
launched, ends the retries.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import dagster as dg

from habla_ml.defs.attempts import OCCASION_TAG, RetryPolicy, count_attempts, explain_wait
from habla_ml.defs.jobs import CLEAN_UP, RENEW_SIGNATURES, REVIEW, WATCH
from habla_ml.settings import Settings

RETRIED_JOBS: Final = (REVIEW, WATCH, CLEAN_UP, RENEW_SIGNATURES)


def build_retry_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Return one sensor for each weekly job. `defs.models.retraining` retries trainings itself."""
    return [_build_retry_sensor(job, settings) for job in RETRIED_JOBS]


def _build_retry_sensor(job: str, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"retry_{job}",
        job_name=job,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Requests the last scheduled run of {job} again after a full disk, an outage or a lost process.",
    )
    def retry_scheduled_run(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        newest = context.instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
        run = newest[0].dagster_run if newest else None
        if run is None or run.status != dg.DagsterRunStatus.FAILURE or OCCASION_TAG not in run.tags:
            return dg.SkipReason("the last run is no scheduled run that failed")
        tags = {OCCASION_TAG: run.tags[OCCASION_TAG]}
        attempts = count_attempts(context.instance, job, tags, RetryPolicy.for_trainings(settings.automation))
        if attempts.running:
            return dg.SkipReason("the run lost its process and is launched again")
        if not attempts.can_start(datetime.now(UTC)):
            return dg.SkipReason(f"the run of {tags[OCCASION_TAG]} {explain_wait(attempts, job, settings)}")
        return dg.RunRequest(run_key=attempts.make_key(f"{job}:{tags[OCCASION_TAG]}"), tags=tags)

    return retry_scheduled_run
