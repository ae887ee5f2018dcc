"""Turn changed partitions into run requests: the one place where a sensor asks for days or hours.

A partition that cannot be requested (outside the range, a wait after a failed run, given up, not examined) is reported
and never stops the others. The report is in the tick: its skip reason or, if runs are requested, its cursor. The cursor
only shows the report; each decision derives from what is stored and the run history, so no cursor can be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from habla_ml.defs.attempts import RetryPolicy, count_attempts, explain_wait, is_waiting
from habla_ml.errors import IsolatedError, isolate
from habla_ml.settings import Settings

INPUTS_TAG: Final = "habla_ml/inputs"
_MOST_REMARKS: Final = 20
_NOTHING_NEW: Final = "nothing new"


@dataclass(frozen=True)
class ChangedPartition:
    """A partition to materialise again."""

    key: str
    fingerprint: str
    """Differs for each state of its inputs."""


@dataclass(frozen=True)
class RequestedJob:
    """The runs that a sensor asks for."""

    name: str
    partitions: dg.PartitionsDefinition
    tag: str
    """Tag of a run whose value is its partition."""
    explain_outside: Callable[[str], str | None]
    """Return why a key is none of the partitions."""
    most_at_once: int | None = None
    """Partitions that wait for their run, run or are requested, at most; the first ones are chosen. None: all."""


def request_partitions(
    context: dg.SensorEvaluationContext,
    job: RequestedJob,
    find_changed: Callable[[list[IsolatedError]], Iterable[ChangedPartition]],
    settings: Settings,
    messages: Sequence[str] = (),
) -> dg.SensorResult:
    """Request one run for each changed partition that may start now, and report the others.

    `find_changed` yields the changed partitions, and adds to its list what it could not examine. If it raises, those
    that it has yielded are requested all the same. `messages` is read after it and comes first in the report.
    """
    now, policy = datetime.now(UTC), RetryPolicy.for_days(settings.automation)
    requests: list[dg.RunRequest] = []
    remarks: list[str] = []
    errors: list[IsolatedError] = []
    active = 0
    with isolate("partitions", errors):
        for each in find_changed(errors):
            if active == job.most_at_once:
                break
            if not job.partitions.has_partition_key(each.key):
                remarks.append(f"{each.key} is left out: it {job.explain_outside(each.key) or 'is no partition'}")
                continue
            if is_waiting(context.instance, job.name, {job.tag: each.key}):
                active += 1
                continue  # It reads the partition when it begins. A second one would only lengthen the queue.
            tags = {job.tag: each.key, INPUTS_TAG: each.fingerprint[:32]}
            attempts = count_attempts(context.instance, job.name, tags, policy)
            can_start = attempts.can_start(now)
            active += can_start or attempts.running
            if can_start:
                key = attempts.make_key(f"{job.name}:{each.key}:{each.fingerprint[:32]}")
                requests.append(dg.RunRequest(run_key=key, partition_key=each.key, tags=tags))
            elif not attempts.running:
                remarks.append(f"{each.key} {explain_wait(attempts, job.name, settings)}")
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
