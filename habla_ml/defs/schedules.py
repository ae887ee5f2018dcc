"""What the schedules share: they run from the start, in the zone of the settings, and request one run for each occasion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from habla_ml.defs.attempts import OCCASION_TAG, is_running
from habla_ml.settings import Settings


def schedule_job(
    job_name: str, cron: str, settings: Settings, description: str
) -> Callable[[Callable[..., Any]], dg.ScheduleDefinition]:
    """Return the decorator of a schedule of `job_name`."""
    return dg.schedule(
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


def request_occasion(job_name: str, context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a scheduled run, tagged so that it can be tried again, unless one is queued or active."""
    if is_running(context.instance, job_name):
        return dg.SkipReason(f"{job_name} is queued or running")
    occasion = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
    return dg.RunRequest(run_key=f"{job_name}:{occasion}", tags={OCCASION_TAG: occasion})
