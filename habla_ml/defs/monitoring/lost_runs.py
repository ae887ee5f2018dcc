"""`lost_runs`: end the runs that lost their process while they were starting or being canceled.

Dagster's own monitoring asks for the process of a started run only (`run_launcher`). A run that was starting when the
machine failed would keep its slot until `run_monitoring.start_timeout_seconds`.
"""

from __future__ import annotations

import time
from typing import Final

import dagster as dg

from habla_ml.defs.run_worker import build_lock_path, is_worker_alive

_INTERVAL_S: Final = 30

# A process takes its lock within about a second of its launch. One that is slower finds that its run is over, and ends.
_LAUNCH_S: Final = 30.0


def build_lost_runs_sensor() -> dg.SensorDefinition:
    """Return the sensor; it runs at the start of the daemon and twice a minute, and requests nothing."""

    @dg.sensor(
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Ends runs whose process was lost while they were starting or being canceled, as in a power loss. They "
            "start again by themselves."
        ),
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ended = end_lost_runs(context.instance)
        return dg.SensorResult(skip_reason=f"ended {', '.join(ended)}" if ended else "no run has lost its process")

    return lost_runs


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail starting runs and cancel canceling ones that have no process; return the ids of these runs."""
    statuses = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    lost = [run for run in instance.get_runs(filters=dg.RunsFilter(statuses=statuses)) if _is_lost(instance, run)]
    for run in lost:
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of this run has ended.")
        else:
            instance.report_run_failed(run, "The process of this run was lost while it was starting.")
    return [run.run_id for run in lost]


def _is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    lock = build_lock_path(instance.root_directory, run.run_id)
    try:
        launched_at = lock.stat().st_mtime
        is_alive = is_worker_alive(lock)
    except FileNotFoundError:
        return False  # Launched from another DAGSTER_HOME, or not yet.
    # A time in the future is from a clock that was set back.
    return not is_alive and not 0 <= time.time() - launched_at < _LAUNCH_S
