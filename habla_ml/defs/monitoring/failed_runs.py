"""Alerts about failed runs: one for each job, partition and kind of fault, until that partition succeeds.

The state of an alert is a tag of the failed run, because the lake may be what failed. Dagster moves the cursor of a
run-failure sensor even if its function raises; a refused alert is therefore repeated by the sensor `loop_alerts`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg

from habla_ml.defs.jobs import DONE_BY
from habla_ml.monitoring.alerts import Alert, deliver, list_channels
from habla_ml.settings import Settings

ERROR_TAG: Final = "habla_ml/error"
"""Class of the error of a failed run, never its message, which can quote an input."""
PARTITION_TAG: Final = "dagster/partition"
WORKER_LOST: Final = "lost process"
_ALERT_TAG: Final = "habla_ml/alert"
_CHANNELS_TAG: Final = "habla_ml/alert_channels"
_DUE, _SENT, _KNOWN = "due", "sent", "known"
_WILL_RETRY_TAG: Final = "dagster/will_retry"
_MOST_OF_A_KIND: Final = 5
"""Alerts a day about one job and kind of fault; a full disk can fail a hundred days."""
_MOST_DELIVERIES: Final = 10
_MOST_MISSED: Final = 100
_SENSOR_DELAY: Final = timedelta(minutes=3)
"""Within it a failed run is left to the run-failure sensor."""
_WRAPPER: Final = re.compile("Dagster.*|.*ExecutionError")
"""Classes in which Dagster wraps an error of a step, sensor or schedule."""


def build_failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that sends an alert for a failed run."""

    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Sends an alert for a failed run by webhook or e-mail: one for each job, partition and kind of fault until "
            "the partition succeeds, however often it is tried."
        ),
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        register_failure(context.instance, context.dagster_run, settings)
        for line in deliver_due_alerts(context.instance, settings):
            context.log.info(line)

    return failed_runs


def register_missed_failures(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> None:
    """Tag the failed runs of the last day that the run-failure sensor missed, such as while the storage was locked."""
    recent = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - timedelta(days=1))
    for record in instance.get_run_records(recent, limit=_MOST_MISSED):
        is_new = record.update_timestamp > now - _SENSOR_DELAY
        if ERROR_TAG not in record.dagster_run.tags and not is_new:
            register_failure(instance, record.dagster_run, settings)


def register_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> None:
    """Tag a failed run with its kind of fault and with whether an alert is due."""
    fault = _classify(instance, run.run_id)
    tags = {ERROR_TAG: fault}
    # A run that Dagster starts again by itself has not failed yet.
    if list_channels(settings.monitoring.alerts) and run.tags.get(_WILL_RETRY_TAG) != "true":
        tags[_ALERT_TAG] = _KNOWN if _is_reported(instance, run, fault) else _DUE
    instance.add_run_tags(run.run_id, tags)


def deliver_due_alerts(
    instance: dg.DagsterInstance,
    settings: Settings,
    environment: Mapping[str, str] = os.environ,
    silent: Collection[str] = (),
) -> Sequence[str]:
    """Send the alerts that are due, and return a line for each delivery and each fault.

    A channel that does not answer, such as those in `silent`, is not asked again in this call.
    """
    lines: list[str] = []
    unasked = set(silent)
    channels = list_channels(settings.monitoring.alerts)
    due = instance.get_run_records(dg.RunsFilter(tags={_ALERT_TAG: _DUE}), limit=_MOST_DELIVERIES, ascending=True)
    for record in due:
        run = record.dagster_run
        delivered = {each for each in run.tags.get(_CHANNELS_TAG, "").split(",") if each}
        failed_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
        alert = _build_alert(run, failed_at, settings)
        for attempt in deliver(alert, settings.monitoring.alerts, delivered | unasked, environment):
            lines.append(attempt.fault or f"alert {alert.key} sent by {attempt.channel}")
            if not attempt.fault:
                delivered.add(attempt.channel)
            elif attempt.is_slow:
                unasked.add(attempt.channel)
        state = _SENT if delivered.issuperset(channels) else _DUE
        instance.add_run_tags(run.run_id, {_ALERT_TAG: state, _CHANNELS_TAG: ",".join(sorted(delivered))})
    return lines


def _is_reported(instance: dg.DagsterInstance, run: dg.DagsterRun, fault: str) -> bool:
    """Return whether an alert about this cause was sent or is due, or too many of its kind today."""
    reported: dict[str, Any] = {ERROR_TAG: fault, _ALERT_TAG: [_DUE, _SENT]}
    day_ago = datetime.now(UTC) - timedelta(days=1)
    same_kind = dg.RunsFilter(job_name=run.job_name, tags=reported, created_after=day_ago)
    if len(instance.get_run_ids(same_kind, limit=_MOST_OF_A_KIND)) >= _MOST_OF_A_KIND:
        return True
    last_success = find_last_success(instance, run.job_name, run.tags.get(PARTITION_TAG, ""))
    after = last_success.create_timestamp if last_success else None
    partition = {PARTITION_TAG: run.tags[PARTITION_TAG]} if PARTITION_TAG in run.tags else {}
    same = dg.RunsFilter(job_name=run.job_name, tags={**reported, **partition}, created_after=after)
    return any(each != run.run_id for each in instance.get_run_ids(same, limit=2))


def _build_alert(run: dg.DagsterRun, failed_at: datetime, settings: Settings) -> Alert:
    partition, fault = run.tags.get(PARTITION_TAG), run.tags.get(ERROR_TAG, "unknown")
    subject = f"{run.job_name} failed{f' for {partition}' if partition else ''}: {fault}"
    return Alert(
        key=f"run/{run.job_name}/{partition or '-'}/{fault}/{run.run_id}",
        subject=subject,
        text=(
            f"Run {run.run_id[:8]} failed on {settings.format_minute(failed_at)} "
            f"({settings.time_zone}). Further failures of the same kind send no alert until it succeeds, and after "
            f"{_MOST_OF_A_KIND} alerts of one kind a day the others are only listed.\n"
            f"`{settings.command('status')}` shows what failed and when it is tried again. The UI shows the error: Runs, "
            f"{run.run_id[:8]}."
        ),
    )


def find_last_success(instance: dg.DagsterInstance, job: str, partition: str) -> dg.RunRecord | None:
    """Return the newest successful run that did the work of a job and partition (empty: without partitions)."""
    tags = {PARTITION_TAG: partition} if partition else {}
    found: list[dg.RunRecord] = []
    for each in DONE_BY.get(job, (job,)):
        done = dg.RunsFilter(job_name=each, tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
        found += instance.get_run_records(done, limit=1)
    return max(found, key=lambda record: record.storage_id, default=None)


def _classify(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the class of the error that failed the run, or why Dagster failed it."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [each.dagster_event for each in instance.all_logs(run_id, of_type=kinds)]
    data = [each.event_specific_data for each in events if each is not None and each.event_specific_data is not None]
    errors = [error for each in data if (error := getattr(each, "error", None)) is not None]
    if errors:
        return find_error_class(errors[0])
    reasons = [reason for each in data if (reason := getattr(each, "failure_reason", None)) is not None]
    known = [each for each in reasons if each.value != "UNKNOWN"]
    return known[-1].value.lower().replace("_", " ") if known else WORKER_LOST


def find_error_class(error: Any) -> str:
    """Return the class of the first error in a stored chain of errors that is not Dagster's own wrapper."""
    chain = []
    while error is not None:
        chain.append(error.cls_name or "")
        error = error.cause
    return next((name for name in chain if name and not _WRAPPER.fullmatch(name)), chain[0] or "unknown")
