"""Turn changed days into run requests: the one place where a sensor asks for days.

A day that cannot be requested (no partition, a wait after a failed run, given up, not examined) is reported and never
stops the other days. The report is in the tick: its skip reason or, if runs are requested, its cursor. The cursor only
shows the report; each decision derives from the lake and the run history, so no cursor can be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.attempts import RetryPolicy, count_attempts, explain_wait, is_waiting
from habla_ml.defs.partitions import recording_days
from habla_ml.errors import IsolatedError, isolate
from habla_ml.recordings.day_range import explain_day_outside
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.change_detection import ChangedDay

    FindDays = Callable[[list[IsolatedError]], Iterable[ChangedDay]]

DAY_TAG: Final = "habla_ml/day"
INPUTS_TAG: Final = "habla_ml/inputs"
_MOST_REMARKS: Final = 20
_NOTHING_NEW: Final = "nothing new"


def request_days(
    context: dg.SensorEvaluationContext,
    job_name: str,
    find_days: FindDays,
    settings: Settings,
    messages: Sequence[str] = (),
) -> dg.SensorResult:
    """Request one run for each changed day that may start now, and report the others.

    `find_days` yields the changed days, and adds to its list what it could not examine. If it raises, the days that it
    has yielded are requested all the same. `messages` is read after it and comes first in the report.
    """
    now, partitions = datetime.now(UTC), recording_days(settings)
    policy = RetryPolicy.for_days(settings.automation)
    requests: list[dg.RunRequest] = []
    remarks: list[str] = []
    errors: list[IsolatedError] = []
    with isolate("days", errors):
        for each in find_days(errors):
            if not partitions.has_partition_key(each.day):
                reason = explain_day_outside(each.day, settings, now) or "is no day"
                remarks.append(f"{each.day} is left out: it {reason}")
                continue
            if is_waiting(context.instance, job_name, {DAY_TAG: each.day}):
                continue  # It reads the day when it begins. A second one would only lengthen the queue.
            tags = {DAY_TAG: each.day, INPUTS_TAG: each.fingerprint[:32]}
            attempts = count_attempts(context.instance, job_name, tags, policy)
            if attempts.can_start(now):
                key = attempts.make_key(f"{job_name}:{each.day}:{each.fingerprint[:32]}")
                requests.append(dg.RunRequest(run_key=key, partition_key=each.day, tags=tags))
            elif not attempts.running:
                remarks.append(f"{each.day} {explain_wait(attempts, job_name, settings)}")
    remarks += [f"{each.subject}: {each.message}" for each in errors]
    return _build_result(context, requests, [*messages, *remarks])


def _build_result(
    context: dg.SensorEvaluationContext, requests: list[dg.RunRequest], remarks: list[str]
) -> dg.SensorResult:
    more = [f"and {len(remarks) - _MOST_REMARKS} more"] if len(remarks) > _MOST_REMARKS else []
    report = "; ".join([*remarks[:_MOST_REMARKS], *more]) or _NOTHING_NEW
    if report not in (context.cursor, _NOTHING_NEW):  # once, not at every tick
        context.log.warning(report)
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=report)
    return dg.SensorResult(skip_reason=report, cursor=report)
