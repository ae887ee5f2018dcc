"""How often a piece of work was tried: a run key is for ever, so each try needs its own."""

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
    """What became of the runs for one piece of work."""

    running: bool
    failed: int

    @property
    def can_start(self) -> bool:
        """Nothing is under way, and it did not fail too often."""
        return not self.running and self.failed < MOST_ATTEMPTS


def count_attempts(instance: dg.DagsterInstance, job_name: str, work: Mapping[str, str]) -> RunAttempts:
    """Count runs of `job_name` that carry the tags of this piece of work."""
    # Of a few dozen runs at most: tags name one piece of work.
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=job_name, tags=dict(work)))
    failed = sum(run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED) for run in runs)
    return RunAttempts(any(run.status in _UNFINISHED_STATUSES for run in runs), failed)


def is_running(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether any run of the job is queued or under way."""
    return bool(
        instance.get_runs(filters=dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED_STATUSES), limit=1)
    )
