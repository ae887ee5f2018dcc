"""The runs for one piece of work: whether one is active, when the next may start, and when the work is given up.

The wait after a failed run doubles, from `automation.retry_after_s` up to `automation.longest_retry_s`, and does not
end: an outage may last a night, and Habla deletes what is not ingested. Only faults that return at each attempt count
towards giving up. Dagster uses a run key only once, so that each attempt needs its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from habla_ml.defs.run_faults import CAUSE_TAG, REASON_TAG
from habla_ml.errors import Fault
from habla_ml.settings import AutomationSettings, Settings

MOST_ATTEMPTS: Final = 3
_FAULTS_OF_DAYS: Final[tuple[Fault, ...]] = ("input",)
_FAULTS_OF_TRAININGS: Final[tuple[Fault, ...]] = ("input", "program")
OCCASION_TAG: Final = "habla_ml/occasion"
"""The time of the schedule that a run is for; `defs.scheduled_retries` tries it again."""

# Dagster launches the retry of a lost run within seconds. When it has not after this time, it never will.
_RELAUNCH_DELAY: Final = timedelta(minutes=5)
_RELAUNCHED_TAG: Final = {"dagster/will_retry": "true"}

UNFINISHED_STATUSES: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_REASONS: Final = {
    dg.DagsterRunStatus.CANCELED: "the run was cancelled",
    dg.DagsterRunStatus.SUCCESS: "the run succeeded, but more is to do",
}


@dataclass(frozen=True)
class RetryPolicy:
    """When failed work is tried again."""

    first_wait: timedelta
    longest_wait: timedelta
    counted_faults: Collection[Fault]
    """The faults that give the work up after `MOST_ATTEMPTS` failed runs."""
    counts_cancelled: bool
    """Whether a cancelled run counts like such a fault."""

    @classmethod
    def for_days(cls, settings: AutomationSettings) -> RetryPolicy:
        """Return the policy of a day, which is cheap to try again: only its input gives it up."""
        return cls(*_waits(settings), _FAULTS_OF_DAYS, counts_cancelled=False)

    @classmethod
    def for_trainings(cls, settings: AutomationSettings) -> RetryPolicy:
        """Return the policy of expensive work: a defect or a lack of memory gives it up too."""
        return cls(*_waits(settings), _FAULTS_OF_TRAININGS, counts_cancelled=True)

    def wait_after(self, finished: int) -> timedelta:
        """Return the wait after the last of `finished` runs, at least one."""
        doubled = self.first_wait * 2.0 ** min(finished - 1, 30)
        return min(doubled, max(self.longest_wait, self.first_wait))


def _waits(settings: AutomationSettings) -> tuple[timedelta, timedelta]:
    return timedelta(seconds=settings.retry_after_s), timedelta(seconds=settings.longest_retry_s)


@dataclass(frozen=True)
class RunAttempts:
    """The runs for one piece of work."""

    running: bool = False
    finished: int = 0
    """Runs that failed, or succeeded without completing the work."""
    counted: int = 0
    """Failed runs that count towards giving up."""
    retry_at: datetime | None = None
    """When the next run may start, UTC; None before the first."""
    last_run: str = ""
    reason: str = ""
    """Why the last run did not complete the work."""

    @property
    def given_up(self) -> bool:
        """Whether only a person starts the next run."""
        return not self.running and self.counted >= MOST_ATTEMPTS

    def can_start(self, now: datetime) -> bool:
        """Return whether no run is active, the work is not given up, and the wait is over."""
        return not self.running and not self.given_up and (self.retry_at is None or now >= self.retry_at)

    def make_key(self, work: str) -> str:
        """Return the run key of the next attempt at `work`: it differs after each run."""
        return f"{work}:{self.last_run or 'first'}"


def count_attempts(
    instance: dg.DagsterInstance, job_name: str, tags: Mapping[str, str], policy: RetryPolicy
) -> RunAttempts:
    """Count the runs of `job_name` with these tags, which name one piece of work.

    A run that lost its process is launched again by Dagster: it counts as running until then, and not as finished.
    Reads one run and at most five counts: the cost does not grow with the number of attempts.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=job_name, tags=dict(tags)), limit=1)
    if not records:
        return RunAttempts()
    (last,) = records
    ended_at = last.update_timestamp if last.end_time is None else datetime.fromtimestamp(last.end_time, UTC)
    if ended_at > datetime.now(UTC):  # by a clock that was ahead: no wait can be counted from then
        ended_at = datetime.fromtimestamp(0, UTC)
    is_relaunched = last.dagster_run.is_complete_and_waiting_to_retry and datetime.now(UTC) < ended_at + _RELAUNCH_DELAY
    if is_relaunched or _count(instance, job_name, tags, UNFINISHED_STATUSES):
        return RunAttempts(running=True)
    relaunched = _count(instance, job_name, {**tags, **_RELAUNCHED_TAG}, [dg.DagsterRunStatus.FAILURE])
    finished = max(1, _count(instance, job_name, tags) - relaunched)
    counted = _count(
        instance, job_name, {**tags, CAUSE_TAG: list(policy.counted_faults)}, [dg.DagsterRunStatus.FAILURE]
    )
    if policy.counts_cancelled:
        counted += _count(instance, job_name, tags, [dg.DagsterRunStatus.CANCELED])
    status = last.dagster_run.status
    return RunAttempts(
        finished=finished,
        counted=counted,
        retry_at=ended_at + policy.wait_after(finished),
        last_run=last.dagster_run.run_id,
        reason=last.dagster_run.tags.get(REASON_TAG, _REASONS.get(status, "the worker of the run was lost")),
    )


def explain_wait(attempts: RunAttempts, job_name: str, settings: Settings) -> str:
    """Return until when failed work waits and why, or why it is given up and what to do."""
    if attempts.given_up or attempts.retry_at is None:
        return (
            f"is given up after {attempts.counted} runs ({attempts.reason}); fix the cause, then launch "
            f"{job_name} for it"
        )
    until = attempts.retry_at.astimezone(settings.zone)
    return f"waits until {until:%Y-%m-%d %H:%M:%S} after {attempts.finished} runs ({attempts.reason})"


def is_waiting(instance: dg.DagsterInstance, job_name: str, tags: Mapping[str, str]) -> bool:
    """Return whether a run of `job_name` with these tags has not begun."""
    return _count(instance, job_name, tags, [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED]) > 0


def is_running(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Return whether any run of the job is queued or active."""
    return _count(instance, job_name, {}, UNFINISHED_STATUSES) > 0


def _count(
    instance: dg.DagsterInstance,
    job_name: str,
    tags: Mapping[str, str | list[str]],
    statuses: list[dg.DagsterRunStatus] | None = None,
) -> int:
    return instance.get_runs_count(dg.RunsFilter(job_name=job_name, tags=dict(tags), statuses=statuses))
