"""What the status of the loop shows of Dagster: daemon, runs, sensors and schedules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg

from habla_ml.defs.attempts import OCCASION_TAG, UNFINISHED_STATUSES, RetryPolicy, count_attempts
from habla_ml.defs.corpus.day_requests import DAY_TAG
from habla_ml.defs.corpus.partition_requests import INPUTS_TAG
from habla_ml.defs.corpus.uploaded_clips import HOUR_TAG
from habla_ml.defs.jobs import CORRECT, ERASE, INGEST, INGEST_UPLOADS, RETRAIN
from habla_ml.defs.models.new_version import VERSION_TAG
from habla_ml.defs.monitoring.failed_runs import (
    ERROR_TAG,
    PARTITION_TAG,
    WORKER_LOST,
    find_error_class,
    find_last_success,
)
from habla_ml.defs.run_faults import REASON_TAG
from habla_ml.defs.scheduled_retries import RETRIED_JOBS
from habla_ml.defs.schedules import iterate_times
from habla_ml.monitoring.status.facts import ActiveRun, AssetRun, FailedWork, OrchestratorFacts, ScheduledTick
from habla_ml.settings import Settings

_FAILURES_OF: Final = timedelta(days=30)
_MOST_RUNS: Final = 200
_MOST_FAILED_WORK: Final = 30
_RETRY_POLICIES: Final = {
    **dict.fromkeys((INGEST, INGEST_UPLOADS, CORRECT, ERASE), RetryPolicy.for_days),
    **dict.fromkeys((RETRAIN, *RETRIED_JOBS), RetryPolicy.for_trainings),
}
"""Job whose failed runs a sensor requests again → the policy of that sensor."""


def read_orchestrator_facts(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition | None,
    settings: Settings,
    now: datetime,
    own_run_id: str = "",
) -> OrchestratorFacts:
    """Read the state of the daemon, of the newest runs, and of the sensors and schedules of `repository`.

    The run `own_run_id`, which reads the state, is not listed.
    """
    heartbeats = instance.get_daemon_heartbeats().values()
    newest = max((each.timestamp for each in heartbeats), default=None)
    statuses = instance.get_daemon_statuses().values()
    return OrchestratorFacts(
        heartbeat_at=None if newest is None else datetime.fromtimestamp(newest, UTC),
        silent_daemons=tuple(
            sorted(each.daemon_type.lower() for each in statuses if each.required and not each.healthy)
        ),
        active=tuple(_list_active(instance, own_run_id)),
        failed=tuple(_list_failed(instance, settings, now)),
        ticks=(*_list_sensors(instance, repository), *_list_schedules(instance, repository, settings, now)),
        asset_runs=tuple(_list_asset_runs(instance, repository)),
    )


def _list_active(instance: dg.DagsterInstance, own_run_id: str) -> Iterator[ActiveRun]:
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED_STATUSES), limit=_MOST_RUNS):
        run = record.dagster_run
        if run.run_id == own_run_id:
            continue
        started = (
            record.create_timestamp if record.start_time is None else datetime.fromtimestamp(record.start_time, UTC)
        )
        is_queued = run.status == dg.DagsterRunStatus.QUEUED
        yield ActiveRun(run.job_name, run.tags.get(PARTITION_TAG, ""), is_queued, started)


def _list_failed(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Iterator[FailedWork]:
    """Yield each job and partition whose newest run failed, newest first."""
    recent = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], created_after=now - _FAILURES_OF)
    failures: dict[tuple[str, str], list[dg.RunRecord]] = {}
    for record in instance.get_run_records(recent, limit=_MOST_RUNS):
        run = record.dagster_run
        failures.setdefault((run.job_name, run.tags.get(PARTITION_TAG, "")), []).append(record)
    for (job, partition), records in list(failures.items())[:_MOST_FAILED_WORK]:
        last_done = find_last_success(instance, job, partition)
        last_id = last_done.storage_id if last_done else 0
        open_failures = [each for each in records if each.storage_id > last_id]
        if open_failures:
            next_try = _explain_next_try(instance, open_failures[0].dagster_run, settings, now)
            yield _describe_failure(job, partition, open_failures, next_try)


def _describe_failure(job: str, partition: str, records: list[dg.RunRecord], next_try: str) -> FailedWork:
    newest, tags = records[0], records[0].dagster_run.tags
    ended = newest.update_timestamp if newest.end_time is None else datetime.fromtimestamp(newest.end_time, UTC)
    return FailedWork(
        job=job,
        partition=partition,
        fault=tags.get(REASON_TAG) or tags.get(ERROR_TAG) or WORKER_LOST,
        failed_at=ended,
        attempts=len(records),
        next_try=next_try,
    )


def _explain_next_try(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings, now: datetime) -> str:
    """Return when the work of a failed run is tried again; empty if only a person starts it."""
    work = {tag: run.tags[tag] for tag in (DAY_TAG, HOUR_TAG, INPUTS_TAG, VERSION_TAG, OCCASION_TAG) if tag in run.tags}
    choose_policy = _RETRY_POLICIES.get(run.job_name)
    if not work or choose_policy is None:
        return f"it is not tried again by itself: fix the cause, then launch {run.job_name}, or wait for its schedule"
    attempts = count_attempts(instance, run.job_name, work, choose_policy(settings.automation))
    if attempts.given_up:
        return ""
    if attempts.running:
        return "it is running again"
    if attempts.retry_at is None or attempts.retry_at <= now:
        return "it is tried again at the next look of its sensor"
    return f"it is tried again at {attempts.retry_at.astimezone(settings.zone):%H:%M:%S}"


def _list_sensors(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None) -> Iterator[ScheduledTick]:
    states = _load_states(instance)
    for sensor in repository.sensor_defs if repository else ():
        state = states.get(sensor.name)
        is_on = sensor.default_status == dg.DefaultSensorStatus.RUNNING if state is None else state.is_running
        data = None if state is None else state.instigator_data
        last_s = getattr(data, "last_tick_timestamp", None)
        interval = timedelta(seconds=sensor.minimum_interval_seconds or 30)
        next_at = None if last_s is None else datetime.fromtimestamp(last_s, UTC) + interval
        yield ScheduledTick(
            "sensor", sensor.name, _shorten(sensor.description), is_on, next_at, _find_problem(instance, state)
        )


def _list_schedules(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None, settings: Settings, now: datetime
) -> Iterator[ScheduledTick]:
    states = _load_states(instance)
    for schedule in repository.schedule_defs if repository else ():
        state = states.get(schedule.name)
        is_on = schedule.default_status == dg.DefaultScheduleStatus.RUNNING if state is None else state.is_running
        next_at = _find_next_time(schedule, settings, now) if is_on else None
        yield ScheduledTick(
            "schedule", schedule.name, _shorten(schedule.description), is_on, next_at, _find_problem(instance, state)
        )


def _find_next_time(schedule: dg.ScheduleDefinition, settings: Settings, now: datetime) -> datetime:
    times = iterate_times(schedule.cron_schedule, schedule.execution_timezone or "UTC", now)
    coming = (each for each in times if each > now)
    if schedule.job_name == RETRAIN:
        days = settings.automation
        coming = (each for each in coming if days.find_training_day(each.date()) == each.date())
    return next(coming)


def _list_asset_runs(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None) -> Iterator[AssetRun]:
    """Yield the last run of each asset that has ended."""
    keys = sorted(repository.asset_graph.materializable_asset_keys) if repository else []
    last_runs = {each.asset_entry.asset_key: each.asset_entry.last_run_id for each in instance.get_asset_records(keys)}
    wanted = sorted({each for each in last_runs.values() if each is not None})
    records = instance.get_run_records(dg.RunsFilter(run_ids=wanted)) if wanted else []
    ended = {each.dagster_run.run_id: each for each in records if each.dagster_run.is_finished}
    for key, run_id in last_runs.items():
        record = ended.get(run_id or "")
        if record is not None and record.start_time is not None and record.end_time is not None:
            yield AssetRun(
                key.to_user_string(),
                record.dagster_run.is_success,
                datetime.fromtimestamp(record.end_time, UTC),
                record.end_time - record.start_time,
            )


def _load_states(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Return the stored state of each sensor and schedule by name; an instance in memory stores none."""
    if instance.schedule_storage is None:
        return {}
    return {each.name: each for each in instance.all_instigator_state()}


def _find_problem(instance: dg.DagsterInstance, state: Any) -> str:
    """Return the class of the error of the last evaluation; empty if it went well or there was none."""
    if state is None:
        return ""
    last = next(iter(instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)), None)
    if last is None or last.status.value != "FAILURE" or last.error is None:
        return ""
    return find_error_class(last.error)


def _shorten(description: str | None) -> str:
    """Return the first sentence, without its full stop."""
    return (description or "").split(". ")[0].rstrip(".")
