"""What the status shows of Dagster, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class FailedWork:
    """A job and partition whose newest run failed."""

    job: str
    partition: str
    """Empty for a job without partitions."""
    fault: str
    """Kind of fault, such as the class of the error."""
    failed_at: datetime
    attempts: int
    """Failed runs since the last success, of the last 30 days."""
    next_try: str
    """In words; empty if nothing will try it again."""


@dataclass(frozen=True)
class ActiveRun:
    """A run that is queued or running."""

    job: str
    partition: str
    is_queued: bool
    since: datetime


@dataclass(frozen=True)
class ScheduledTick:
    """A sensor or schedule and when it is evaluated next."""

    kind: Literal["sensor", "schedule"]
    name: str
    purpose: str
    """What it starts, in words."""
    is_on: bool
    next_at: datetime | None
    """None where it is off or has never been evaluated."""
    problem: str
    """Kind of fault of its last evaluation; empty where that went well."""


@dataclass(frozen=True)
class AssetRun:
    """The last run that was to materialise an asset, once it has ended."""

    asset: str
    has_succeeded: bool
    ended_at: datetime
    duration_s: float


@dataclass(frozen=True)
class OrchestratorFacts:
    """The state of the daemon, its runs and what starts them."""

    heartbeat_at: datetime | None
    """The newest heartbeat of any daemon thread; None without one."""
    silent_daemons: tuple[str, ...]
    """Threads of the daemon that are needed and not alive."""
    active: tuple[ActiveRun, ...]
    failed: tuple[FailedWork, ...]
    ticks: tuple[ScheduledTick, ...]
    asset_runs: tuple[AssetRun, ...] = ()
