"""Ask for the changed days of recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.corpus.partition_requests import ChangedPartition, RequestedJob, request_partitions
from habla_ml.defs.partitions import recording_days
from habla_ml.errors import IsolatedError
from habla_ml.recordings.day_range import explain_day_outside
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.change_detection import ChangedDay

    FindDays = Callable[[list[IsolatedError]], Iterable[ChangedDay]]

DAY_TAG: Final = "habla_ml/day"


def request_days(
    context: dg.SensorEvaluationContext,
    job_name: str,
    find_days: FindDays,
    settings: Settings,
    messages: Sequence[str] = (),
) -> dg.SensorResult:
    """Request one run for each changed day, as `request_partitions` does."""
    now = datetime.now(UTC)

    def explain_outside(day: str) -> str | None:
        return explain_day_outside(day, settings, now)

    def find_changed(errors: list[IsolatedError]) -> Iterator[ChangedPartition]:
        yield from (ChangedPartition(each.day, each.fingerprint) for each in find_days(errors))

    job = RequestedJob(job_name, recording_days(settings), DAY_TAG, explain_outside)
    return request_partitions(context, job, find_changed, settings, messages)
