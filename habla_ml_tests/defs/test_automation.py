import json
import shutil
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from habla_ml.defs.models.new_version import VERSION_TAG
from habla_ml.defs.partitions import MODEL_VERSIONS, next_version
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment


def days(found: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in found.run_requests or ()]


def leave_failed_run(deployment: DagsterDeployment, request: dg.RunRequest, job: str) -> None:
    """Record a failed run for the request, as after a crash of the worker."""
    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def(job), tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
    )
    deployment.instance.report_run_failed(run)


def correct_one_transcript(deployment: DagsterDeployment) -> str:
    """Correct a transcript of an already corrected session and return its day."""
    path = sorted(deployment.recordings.glob("*/corrected_ground_truth.json"))[0]
    body = json.loads(path.read_text("utf-8"))
    entry = next(each for each in body["segments"] if each["reviewed"])
    entry.update(transcript="Otra cosa muy distinta.", human_corrected=True)
    body["corrected_at"] = "2027-01-01T00:00:00+00:00"
    path.write_text(json.dumps(body), "utf-8")
    stamp = path.parent.name.split("_")[-2]
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}"


@pytest.mark.long
def test_new_recordings_are_requested_once(deployment):
    assert days(deployment.tick("new_recordings")) == [MONDAY, TUESDAY]
    assert deployment.run("ingest_day", MONDAY).success
    assert days(deployment.tick("new_recordings")) == [TUESDAY]
    assert deployment.run("ingest_day", TUESDAY).success
    assert deployment.tick("new_recordings").skip_reason == dg.SkipReason("nothing new")


def test_a_later_session_requests_its_day_only(ingested):
    source = next(each for each in sorted(ingested.recordings.iterdir()) if (each / "metadata.json").exists())
    shutil.copytree(source, ingested.recordings / "99999_20260303_200000")
    assert days(ingested.tick("new_recordings")) == [TUESDAY]


def test_a_running_day_is_not_requested_twice(deployment):
    request = deployment.tick("new_recordings").run_requests[0]
    deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def("ingest_day"),
        tags=dict(request.tags),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert days(deployment.tick("new_recordings")) == [TUESDAY]


def test_a_new_correction_requests_its_day_only_and_reaches_the_corpus(ingested):
    assert ingested.tick("new_corrections").skip_reason == dg.SkipReason("nothing new")
    day = correct_one_transcript(ingested)
    assert days(ingested.tick("new_corrections")) == [day]
    assert ingested.run("update_text", day).success
    assert ingested.metadata("annotated_corpus", day)["new events"] == 1
    assert ingested.tick("new_corrections").skip_reason == dg.SkipReason("nothing new")


def test_a_grown_corpus_requests_the_next_version(ingested):
    found = ingested.tick("corpus_growth")
    assert [request.partition_key for request in found.run_requests] == ["v1"]
    assert ingested.instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]


@pytest.mark.parametrize("retry_settings", [{"retry_after_s": 0.001}])
def test_a_version_without_a_report_is_requested_again_under_a_new_key(ingested):
    first = ingested.tick("corpus_growth").run_requests[0]
    leave_failed_run(ingested, first, "train_and_release")
    second = ingested.tick("corpus_growth").run_requests[0]
    assert second.partition_key == "v1"
    assert second.run_key != first.run_key
    assert ingested.instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]


def test_a_second_training_is_not_requested_while_one_is_running(ingested):
    request = ingested.tick("corpus_growth").run_requests[0]
    ingested.instance.create_run_for_job(
        ingested.definitions.resolve_job_def("train_and_release"),
        tags={VERSION_TAG: request.tags[VERSION_TAG]},
        status=dg.DagsterRunStatus.STARTED,
    )
    found = ingested.tick("corpus_growth")
    assert not found.run_requests
    assert found.skip_reason == dg.SkipReason("a training is queued or running")


@pytest.mark.parametrize("retry_settings", [{"retry_after_s": 0.001}])
def test_a_run_of_an_older_version_does_not_end_the_retries_of_the_newest(ingested):
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1"])
    asked = ingested.tick("corpus_growth").run_requests[0]
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v2"])
    leave_failed_run(ingested, dg.RunRequest(partition_key="v2", tags={VERSION_TAG: "v2"}), "train_and_release")
    ingested.instance.create_run_for_job(  # as a person who releases it again
        ingested.definitions.resolve_job_def("train_and_release"),
        tags={"dagster/partition": "v1"},
        status=dg.DagsterRunStatus.SUCCESS,
    )
    assert asked.partition_key == "v1"
    assert days(ingested.tick("corpus_growth")) == ["v2"]


@pytest.mark.parametrize("retry_settings", [{"retry_after_s": 0.001}])
@pytest.mark.parametrize("growth_hours", [1000.0])
def test_a_version_that_a_person_deleted_stops_no_tick(ingested):
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1"])
    leave_failed_run(ingested, dg.RunRequest(partition_key="v1", tags={VERSION_TAG: "v1"}), "train_and_release")
    assert days(ingested.tick("corpus_growth")) == ["v1"]
    ingested.instance.delete_dynamic_partition(MODEL_VERSIONS, "v1")
    assert days(ingested.tick("corpus_growth")) == []


def test_a_version_whose_bundle_is_trained_elsewhere_is_not_trained_here_until_its_result_is_late(ingested):
    lake, made_at = ingested.lake(), datetime.now(UTC) - timedelta(days=13)
    made = lake.move_pointer("bundles/v1", {"bundles": [{"manifest": "", "created_at": made_at.isoformat()}]}, None)
    found = ingested.tick("corpus_growth")
    assert not found.run_requests
    assert "the bundle of v1 was made on" in found.skip_reason.skip_message
    late = (made_at - timedelta(days=1)).isoformat()
    lake.move_pointer("bundles/v1", {"bundles": [{"manifest": "", "created_at": late}]}, made)
    assert days(ingested.tick("corpus_growth")) == ["v1"]


@pytest.mark.parametrize("growth_hours", [10])
def test_the_skip_reason_has_the_growth_of_the_corpus(ingested):
    assert "h of 10 h" in str(ingested.tick("corpus_growth").skip_reason)


def evaluate_quarterly_schedule(
    deployment: DagsterDeployment,
    instance: dg.DagsterInstance,
    moment: datetime = datetime(2026, 4, 1, 3, tzinfo=UTC),
) -> dg.RunRequest | dg.SkipReason:
    schedule = deployment.definitions.resolve_schedule_def("quarterly_retraining")
    lake = deployment.definitions.get_repository_def().get_top_level_resources()["lake"]
    with dg.build_schedule_context(
        instance=instance,
        repository_def=deployment.definitions.get_repository_def(),
        resources={"lake": lake},
        scheduled_execution_time=moment,
    ) as context:
        found = schedule.evaluate_tick(context)
    return found.run_requests[0] if found.run_requests else dg.SkipReason(found.skip_message)


@pytest.mark.long
def test_the_quarterly_schedule_requests_a_version_unless_the_corpus_is_empty(deployment):
    with dg.instance_for_test() as instance:  # Schedules need an instance on disk.
        assert evaluate_quarterly_schedule(deployment, instance) == dg.SkipReason("the corpus is empty")
        assert deployment.run("ingest_day", MONDAY).success
        assert evaluate_quarterly_schedule(deployment, instance).partition_key == "v1"
        assert instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]


def test_the_quarterly_schedule_follows_the_settings(deployment):
    schedule = deployment.definitions.resolve_schedule_def("quarterly_retraining")
    assert schedule.cron_schedule == "0 3 1 */3 *"
    assert schedule.execution_timezone == "Europe/Madrid"


@pytest.mark.long
@pytest.mark.parametrize("retry_settings", [{"quarterly_cron": "30 2 * * 1", "retrain_every_weeks": 2}])
def test_a_schedule_every_two_weeks_skips_the_weeks_between_over_the_end_of_the_year(deployment):
    mondays = [date(2026, 12, 14) + timedelta(weeks=week) for week in range(5)]
    moments = [datetime(day.year, day.month, day.day, 2, 30, tzinfo=deployment.settings.zone) for day in mondays]
    with dg.instance_for_test() as instance:
        found = [evaluate_quarterly_schedule(deployment, instance, moment) for moment in moments]
    # The other weeks are skipped before the corpus is read.
    trains, waits = dg.SkipReason("the corpus is empty"), "trains every 2 weeks; the next time is "
    assert [found[1], found[3]] == [trains, trains]
    assert [each.skip_message for each in found[::2]] == [
        waits + day for day in ("2026-12-21", "2027-01-04", "2027-01-18")
    ]


def test_the_next_version_follows_the_highest():
    assert next_version([]) == "v1"
    assert next_version(["v1", "v9", "v10", "experiment"]) == "v11"
