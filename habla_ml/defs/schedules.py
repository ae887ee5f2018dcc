"""What the schedules share: they run from the start, in the zone of the settings, and request one run for each occasion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Final

import dagster as dg

from habla_ml.defs.attempts import OCCASION_TAG, is_running
from habla_ml.settings import Settings

_FIRST_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TIMES_EXAMINED: Final = 60
_LEAST_MARGIN: Final = timedelta(hours=2)


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


def expect_each_time(cron: str, settings: Settings) -> dg.FreshnessPolicy:
    """Return the policy of an asset that a schedule refreshes: it fails once a time was missed, after a margin."""
    times = list(islice(iterate_times(cron, settings.time_zone, _FIRST_TIME), _TIMES_EXAMINED))
    longest = max((later - earlier for earlier, later in pairwise(times)), default=timedelta(days=1))
    return dg.FreshnessPolicy.time_window(fail_window=longest + max(_LEAST_MARGIN, longest / 7))


def iterate_times(cron: str | Sequence[str], time_zone: str, start: datetime) -> Iterator[datetime]:
    """Yield the times of a cron expression from `start` on."""
    # Dagster exports no function for the times of a cron expression; the package is pinned to this version.
    from dagster._utils.schedules import schedule_execution_time_iterator

    yield from schedule_execution_time_iterator(start.timestamp(), cron, time_zone, ascending=True)


def request_occasion(job_name: str, context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a scheduled run, tagged so that it can be tried again, unless one is queued or active."""
    if is_running(context.instance, job_name):
        return dg.SkipReason(f"{job_name} is queued or running")
    occasion = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
    return dg.RunRequest(run_key=f"{job_name}:{occasion}", tags={OCCASION_TAG: occasion})
