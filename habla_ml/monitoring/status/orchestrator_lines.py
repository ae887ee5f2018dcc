"""Lines about Dagster: its daemon, its runs, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.facts import ScheduledTick
from habla_ml.monitoring.status.inputs import StatusInputs

_SILENT_AFTER: Final = timedelta(minutes=5)
"""Dagster's daemon writes a heartbeat every 30 s."""
_MOST_FAILURES_SHOWN: Final = 10
_LATE_AFTER: Final = timedelta(minutes=2)
_UNKNOWN: Final = "unknown without DAGSTER_HOME"


def describe_daemon(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield whether Dagster's daemon is alive; without it nothing starts by itself."""
    facts = inputs.orchestrator
    if facts is None:
        yield Finding(
            "daemon", "note", "unknown: DAGSTER_HOME is not set", "export the folder that `habla-ml dev` uses"
        )
        return
    heartbeat = facts.heartbeat_at
    start = f"start it: `{inputs.settings.command('dev')}`"
    if heartbeat is None:
        yield Finding("daemon", "wrong", "has never run in this DAGSTER_HOME: nothing starts by itself", start)
        return
    age = inputs.format_age(heartbeat)
    values = {"seconds_since_heartbeat": round((inputs.now - heartbeat).total_seconds())}
    if inputs.now - heartbeat > _SILENT_AFTER:
        yield Finding("daemon", "wrong", f"stopped {age} ago: nothing starts by itself", start, values)
    elif facts.silent_daemons:
        found = f"runs, but its parts {', '.join(facts.silent_daemons)} are silent"
        yield Finding("daemon", "wrong", found, "look at the daemon's log, then restart it", values)
    else:
        yield Finding("daemon", "ok", f"alive, {age} ago", "", values)


def describe_runs(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the runs that are active."""
    if inputs.orchestrator is None:
        yield Finding("runs", "note", _UNKNOWN)
        return
    active = inputs.orchestrator.active
    queued = sum(each.is_queued for each in active)
    listed = ", ".join(
        f"{each.job}{f' {each.partition}' if each.partition else ''} "
        f"({'queued' if each.is_queued else 'running'} {inputs.format_age(each.since)})"
        for each in active[:5]
    )
    more = f" and {len(active) - 5} more" if len(active) > 5 else ""
    yield Finding("runs", "ok", f"{listed}{more}" or "none", "", {"running": len(active) - queued, "queued": queued})


def describe_failures(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield a line for each job and partition whose newest run failed, and when it is tried again."""
    if inputs.orchestrator is None:
        yield Finding("failed runs", "note", _UNKNOWN)
        return
    failed = inputs.orchestrator.failed
    if not failed:
        yield Finding("failed runs", "ok", "none", "", {"failed": 0})
    for each in failed[:_MOST_FAILURES_SHOWN]:
        times = "" if each.attempts == 1 else f" ({each.attempts} times)"
        yield Finding(
            "failed run",
            "wrong",
            f"{each.job}{f' {each.partition}' if each.partition else ''}: {each.fault}{times}, "
            f"last {inputs.format_time(each.failed_at)}",
            each.next_try or f"given up: fix the cause, then launch {each.job}",
            {"job": each.job, "partition": each.partition, "fault": each.fault, "attempts": each.attempts},
        )
    if len(failed) > _MOST_FAILURES_SHOWN:
        found = f"{len(failed) - _MOST_FAILURES_SHOWN} more"
        yield Finding("failed runs", "wrong", found, "see Runs in the UI", {"failed": len(failed)})


def describe_next(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield what is evaluated next, soonest first; sensors that are on and work share a line."""
    if inputs.orchestrator is None:
        yield Finding("sensors and schedules", "note", _UNKNOWN)
        return
    ticks = inputs.orchestrator.ticks
    for each in ticks:
        if not each.is_on:
            yield Finding(each.name, "note", f"is switched off: {each.purpose}", "switch it on in the UI: Automation")
        elif each.problem:
            yield Finding(each.name, "wrong", f"its last evaluation failed: {each.problem}", "see Automation in the UI")
    yield from _describe_sensors(inputs, [each for each in ticks if each.kind == "sensor" and each.is_on])
    timed = [(each.next_at, each) for each in ticks if each.kind == "schedule" and each.is_on and each.next_at]
    for moment, each in sorted(timed, key=lambda pair: pair[0]):
        yield Finding(
            each.name, "ok", f"{inputs.format_time(moment)}: {each.purpose}", "", {"next_at": moment.isoformat()}
        )


def _describe_sensors(inputs: StatusInputs, sensors: list[ScheduledTick]) -> Iterator[Finding]:
    """Yield one line for the sensors, with the next look of each, soonest first."""
    timed = sorted((each.next_at, each.name) for each in sensors if each.next_at is not None)
    if not sensors:
        return
    looks = ", ".join(f"{name} {inputs.format_time(moment)}" for moment, name in timed) or "none has looked yet"
    is_late = bool(timed) and inputs.now - timed[0][0] > _LATE_AFTER
    late = f"; {timed[0][1]} is late by {inputs.format_age(timed[0][0])}" if is_late else ""
    yield Finding(
        "sensors",
        "note" if is_late else "ok",
        f"next looks: {looks}{late}",
        "" if not is_late else "is the daemon alive, or does a long evaluation hold it?",
        {name: moment.isoformat() for moment, name in timed},
    )
