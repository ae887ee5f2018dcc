"""Failed work is tried again with a growing wait; only faults of the input give it up."""

import shutil
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from habla_ml.defs.attempts import MOST_ATTEMPTS, OCCASION_TAG, RetryPolicy, count_attempts
from habla_ml.defs.corpus.day_requests import DAY_TAG
from habla_ml.defs.corpus.partition_requests import INPUTS_TAG
from habla_ml.defs.models.new_version import VERSION_TAG
from habla_ml.defs.run_faults import CAUSE_TAG, REASON_TAG
from habla_ml.errors import (
    CorpusError,
    ExportError,
    InputError,
    InputUnavailableError,
    LakeError,
    ServiceError,
    classify_fault,
)
from habla_ml.settings import AutomationSettings
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment

TAGS = {DAY_TAG: MONDAY, INPUTS_TAG: "f"}
DAYS, TRAININGS = RetryPolicy.for_days(AutomationSettings()), RetryPolicy.for_trainings(AutomationSettings())


def leave_run(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    job: str,
    tags: Mapping[str, str],
    fault: str | None = None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.FAILURE,
) -> str:
    """Record a finished run; without a fault it lost its worker."""
    run = instance.create_run_for_job(
        definitions.resolve_job_def(job), tags=dict(tags), status=dg.DagsterRunStatus.STARTED
    )
    if fault is not None:
        instance.add_run_tags(run.run_id, {CAUSE_TAG: fault, REASON_TAG: f"step: {fault} error"})
    report = {
        dg.DagsterRunStatus.FAILURE: instance.report_run_failed,
        dg.DagsterRunStatus.CANCELED: instance.report_run_canceled,
    }[status]
    report(run)
    return run.run_id


@pytest.mark.parametrize(
    ("finished", "seconds"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (8, 3600), (10_000, 3600)]
)
def test_the_wait_doubles_from_a_minute_to_an_hour(finished: int, seconds: int) -> None:
    assert DAYS.wait_after(finished) == timedelta(seconds=seconds)


def raise_from(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("the library failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(28, "No space left on device"), "environment"),
        (ConnectionResetError(), "environment"),
        (LakeError("S3 is down"), "environment"),
        (ServiceError("Label Studio is down"), "environment"),
        (InputUnavailableError("the register cannot be read"), "environment"),
        (sqlite3.OperationalError("database or disk is full"), "environment"),
        (raise_from(sqlite3.OperationalError("database is locked")), "environment"),
        (OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed the connection")), "environment"),
        (raise_from(psycopg.errors.AdminShutdown()), "environment"),
        (DBAPIError("SELECT 1", {}, psycopg.DatabaseError(), connection_invalidated=True), "environment"),
        (IntegrityError("INSERT", {}, psycopg.IntegrityError()), "program"),
        (KeyboardInterrupt(), "environment"),
        (ExportError("the archive cannot be written: No space left on device"), "environment"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "environment"),
        (raise_from(OSError(5, "Input/output error")), "environment"),
        (InputError("is no WAV"), "input"),
        (CorpusError("there is no test set"), "input"),
        (MemoryError(), "program"),
        (KeyError("a defect"), "program"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_the_class_of_an_error_decides_its_fault(error: BaseException, fault: str) -> None:
    assert classify_fault(error) == fault


def test_a_lack_of_memory_in_duckdb_is_no_outage_of_a_database() -> None:
    import duckdb

    assert classify_fault(duckdb.OutOfMemoryException("out of memory")) == "program"
    assert classify_fault(duckdb.IOException("no space")) == "environment"


@pytest.mark.long
def test_faults_of_the_environment_never_give_a_day_up(deployment: DagsterDeployment) -> None:
    keys = set()
    for failed in range(1, 13):
        leave_run(
            deployment.instance, deployment.definitions, "ingest_day", TAGS, "environment" if failed % 2 else None
        )
        found = count_attempts(deployment.instance, "ingest_day", TAGS, DAYS)
        assert not found.given_up
        assert found.retry_at is not None
        wait_s = (found.retry_at - datetime.now(UTC)).total_seconds()
        assert wait_s == pytest.approx(min(60 * 2 ** (failed - 1), 3600), abs=5)
        assert not found.can_start(datetime.now(UTC))
        assert found.can_start(found.retry_at)
        keys.add(found.make_key("day"))
    assert len(keys) == 12
    assert found.reason == "the worker of the run was lost"


@pytest.mark.parametrize(
    ("policy", "fault", "status", "gives_up"),
    [
        (DAYS, "input", dg.DagsterRunStatus.FAILURE, True),
        (DAYS, "program", dg.DagsterRunStatus.FAILURE, False),
        (DAYS, None, dg.DagsterRunStatus.CANCELED, False),
        (TRAININGS, "input", dg.DagsterRunStatus.FAILURE, True),
        (TRAININGS, "program", dg.DagsterRunStatus.FAILURE, True),
        (TRAININGS, None, dg.DagsterRunStatus.CANCELED, True),
        (TRAININGS, None, dg.DagsterRunStatus.FAILURE, False),
        (TRAININGS, "environment", dg.DagsterRunStatus.FAILURE, False),
    ],
)
def test_work_is_given_up_for_faults_that_return(
    deployment: DagsterDeployment,
    policy: RetryPolicy,
    fault: str | None,
    status: dg.DagsterRunStatus,
    gives_up: bool,
) -> None:
    for attempt in range(1, MOST_ATTEMPTS + 1):
        leave_run(deployment.instance, deployment.definitions, "ingest_day", TAGS, fault, status)
        found = count_attempts(deployment.instance, "ingest_day", TAGS, policy)
        assert found.given_up == (gives_up and attempt == MOST_ATTEMPTS)


def test_other_work_is_not_counted(deployment: DagsterDeployment) -> None:
    leave_run(deployment.instance, deployment.definitions, "ingest_day", {**TAGS, INPUTS_TAG: "other"})
    assert count_attempts(deployment.instance, "ingest_day", TAGS, DAYS).can_start(datetime.now(UTC))


def fill_disk(deployment: DagsterDeployment) -> None:
    """Let every write into the work folder fail, as on a full disk."""
    shutil.rmtree(deployment.settings.work_folder, ignore_errors=True)
    deployment.settings.work_folder.write_text("no folder can be made here")


def free_disk(deployment: DagsterDeployment) -> None:
    deployment.settings.work_folder.unlink()


@pytest.mark.long
@pytest.mark.parametrize("retry_settings", [{"retry_after_s": 0.001, "longest_retry_s": 0.001}])
def test_a_day_that_failed_more_than_three_times_on_a_full_disk_is_ingested_once_there_is_space(
    deployment: DagsterDeployment,
) -> None:
    fill_disk(deployment)
    keys = []
    for _ in range(MOST_ATTEMPTS + 2):
        requests = deployment.tick("new_recordings").run_requests or ()
        (monday,) = [each for each in requests if each.partition_key == MONDAY]
        keys.append(monday.run_key)
        assert not deployment.run("ingest_day", MONDAY, **monday.tags).success
    assert len(set(keys)) == MOST_ATTEMPTS + 2
    free_disk(deployment)
    (monday,) = [each for each in deployment.tick("new_recordings").run_requests or () if each.partition_key == MONDAY]
    assert deployment.run("ingest_day", MONDAY, **monday.tags).success


def test_a_failed_run_has_its_fault_as_tags_and_the_tick_says_until_when_its_day_waits_and_why(
    deployment: DagsterDeployment,
) -> None:
    requests = {str(each.partition_key): each for each in deployment.tick("new_recordings").run_requests or ()}
    fill_disk(deployment)
    run = deployment.run("ingest_day", MONDAY, **requests[MONDAY].tags)
    free_disk(deployment)
    record = deployment.instance.get_run_by_id(run.run_id)
    assert record is not None
    assert record.tags[CAUSE_TAG] == "environment"
    found = deployment.evaluate("new_recordings")
    assert found.partitions == [TUESDAY]
    assert f"{MONDAY} waits until " in found.report
    assert "after 1 runs (raw_recordings: " in found.report


def test_a_day_that_is_given_up_is_in_the_tick_with_what_to_do(deployment: DagsterDeployment) -> None:
    for request in deployment.tick("new_recordings").run_requests or ():
        for _ in range(MOST_ATTEMPTS):
            leave_run(deployment.instance, deployment.definitions, "ingest_day", request.tags, "input")
    found = deployment.evaluate("new_recordings")
    assert found.partitions == []
    for day in (MONDAY, TUESDAY):
        assert f"{day} is given up after 3 runs (step: input error); fix the cause, then launch ingest_day" in (
            found.skip_reason
        )


@pytest.mark.parametrize("growth_hours", [10])
def test_a_training_that_lost_its_worker_is_tried_again_although_the_corpus_has_not_grown(
    ingested: DagsterDeployment,
) -> None:
    assert "h of 10 h" in ingested.evaluate("corpus_growth").skip_reason
    ingested.instance.add_dynamic_partitions("model_version", ["v1"])
    leave_run(ingested.instance, ingested.definitions, "train_and_release", {VERSION_TAG: "v1"})
    found = ingested.evaluate("corpus_growth")
    assert found.partitions == []
    assert "v1 waits until" in found.skip_reason


@pytest.mark.parametrize("retry_settings", [{"retry_after_s": 0.001}])
@pytest.mark.parametrize("growth_hours", [10])
@pytest.mark.parametrize(("fault", "again"), [(None, ["v1"]), ("environment", ["v1"]), ("program", [])])
def test_a_training_is_given_up_only_for_faults_that_return(
    ingested: DagsterDeployment, fault: str | None, again: list[str]
) -> None:
    ingested.instance.add_dynamic_partitions("model_version", ["v1"])
    for _ in range(MOST_ATTEMPTS):
        leave_run(ingested.instance, ingested.definitions, "train_and_release", {VERSION_TAG: "v1"}, fault)
    found = ingested.tick("corpus_growth")
    assert [each.partition_key for each in found.run_requests or ()] == again


@pytest.mark.parametrize(
    ("cause", "tagged", "retry_settings", "again"),
    [
        (None, True, {"retry_after_s": 0.001}, True),
        ("environment", True, {"retry_after_s": 0.001}, True),
        ("environment", True, {}, False),
        ("environment", False, {"retry_after_s": 0.001}, False),
    ],
    ids=["lost", "outage", "waits", "by hand"],
)
def test_a_weekly_run_that_an_outage_ended_is_tried_again_in_its_week(
    deployment: DagsterDeployment, cause: str | None, tagged: bool, again: bool
) -> None:
    tags = {OCCASION_TAG: "2026-03-02T06"} if tagged else {}
    assert deployment.evaluate("retry_choose_for_review").partitions == []
    leave_run(deployment.instance, deployment.definitions, "choose_for_review", tags, cause)
    found = deployment.evaluate("retry_choose_for_review")
    assert (found.skip_reason == "") == again
    assert ("waits until" in found.skip_reason) == (tagged and not again)


@pytest.mark.long
def test_a_schedule_tags_its_run_with_the_occasion(ingested: DagsterDeployment) -> None:
    schedule = ingested.definitions.resolve_schedule_def("weekly_review")
    lake = ingested.definitions.get_repository_def().get_top_level_resources()["lake"]
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance,
            resources={"lake": lake},
            scheduled_execution_time=datetime(2026, 3, 9, 6, tzinfo=UTC),
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.tags[OCCASION_TAG] == "2026-03-09T06:00"


def test_a_day_that_changes_while_its_run_waits_is_not_requested_twice(deployment: DagsterDeployment) -> None:
    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def("ingest_day"),
        tags={**TAGS, INPUTS_TAG: "an older state"},
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    assert [each.partition_key for each in deployment.tick("new_recordings").run_requests or ()] == [TUESDAY]
    deployment.instance.report_run_canceled(run)
    assert [each.partition_key for each in deployment.tick("new_recordings").run_requests or ()] == [MONDAY, TUESDAY]


def test_a_run_that_ended_in_the_future_does_not_block_its_day(deployment: DagsterDeployment, monkeypatch) -> None:
    leave_run(deployment.instance, deployment.definitions, "ingest_day", TAGS)
    ten_days_ago = datetime.now(UTC) - timedelta(days=10)

    class EarlierClock(datetime):
        @classmethod
        def now(cls, tz=None):
            return ten_days_ago

    monkeypatch.setattr("habla_ml.defs.attempts.datetime", EarlierClock)
    assert count_attempts(deployment.instance, "ingest_day", TAGS, DAYS).can_start(ten_days_ago)
