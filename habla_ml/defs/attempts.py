"""Counting the runs for one piece of work: Dagster uses a run key only once, so each attempt needs its own key."""

from __future__ import annotations

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
    """Count the runs of `job_name` with these tags, which name one piece of work."""
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=job_name, tags=dict(tags)))
    failed = sum(run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED) for run in runs)
    return RunAttempts(any(run.status in _UNFINISHED_STATUSES for run in runs), failed)


def is_running(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Return whether any run of the job is queued or active."""
    return bool(instance.get_runs(filters=dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED_STATUSES), limit=1))
