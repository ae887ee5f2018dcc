"""Counting the runs for one piece of work: Dagster uses a run key only once, so each attempt needs its own key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

MOST_ATTEMPTS = 3

_UNFINISHED_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# Dagster launches the retry of a lost run within seconds. When it has not after this time, it never will.
_RETRY_DELAY_S = 300


@dataclass(frozen=True)
class RunAttempts:
    """The runs for one piece of work."""

    running: bool
    failed: int

    @property
    def can_start(self) -> bool:
        """Whether no run is active and fewer than `MOST_ATTEMPTS` failed."""
        return not self.running and self.failed < MOST_ATTEMPTS


def count_attempts(instance: dg.DagsterInstance, job_name: str, tags: Mapping[str, str]) -> RunAttempts:
    """Count the runs of `job_name` with these tags, which name one piece of work.

    A run that lost its process is launched again by Dagster: it counts as running until then, and never as failed.
    """
    records = instance.get_run_records(filters=dg.RunsFilter(job_name=job_name, tags=dict(tags)))
    failed = sum(
        each.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        and "dagster/auto_retry_run_id" not in each.dagster_run.tags
        and not _awaits_retry(each)
        for each in records
    )
    running = any(each.dagster_run.status in _UNFINISHED_STATUSES or _awaits_retry(each) for each in records)
    return RunAttempts(running, failed)


def _awaits_retry(record: dg.RunRecord) -> bool:
    ended_s = record.end_time or 0.0
    return record.dagster_run.is_complete_and_waiting_to_retry and time.time() - ended_s < _RETRY_DELAY_S


def is_running(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Return whether any run of the job is queued or active."""
    return bool(instance.get_runs(filters=dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED_STATUSES), limit=1))
