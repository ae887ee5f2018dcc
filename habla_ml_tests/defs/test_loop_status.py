"""The asset `loop_status`, its checks and its facts about Dagster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from habla_ml.defs.attempts import OCCASION_TAG
from habla_ml.defs.corpus.partition_requests import INPUTS_TAG
from habla_ml.defs.monitoring.loop_facts import read_orchestrator_facts
from habla_ml.defs.run_faults import CAUSE_TAG
from habla_ml.monitoring.status.facts import AssetRun
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment

CHECKS = ("finished_sessions_are_ingested", "unsaved_sessions_are_far_from_deletion")


@pytest.fixture
def tree(tree: dict) -> dict:
    tree["recordings"]["max_recordings"] = 16
    service = {"public_url": "https://habla.example"}
    return {**tree, "service": service, "monitoring": {"loop": {"least_free_gb": 0}}}


def report(deployment: DagsterDeployment) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the job and return its check results by name."""
    run = deployment.definitions.resolve_job_def("report_status").execute_in_process(
        instance=deployment.instance, resources=dict(deployment.definitions.resources or {})
    )
    assert run.success
    return {each.check_name: each for each in run.get_asset_check_evaluations()}


def test_the_asset_has_an_entry_for_each_subject_and_figures_that_chart(deployment):
    checks = report(deployment)
    assert set(checks) == set(CHECKS)
    metadata = deployment.metadata("loop_status")
    for subject in ("daemon", "recordings", "files set aside"):
        assert subject in metadata
    assert metadata["runs"].endswith(" none")  # not the run that reads the status
    assert "of 0.005 h" in metadata["next version"]
    assert metadata["hours until the next version"] == pytest.approx(0.005)
    assert metadata["sessions waiting"] > 0
    assert metadata["folders until a loss"] > 0
    assert metadata["page"] == "https://habla.example/status"


@pytest.mark.long
def test_the_checks_fail_while_recordings_wait_and_pass_once_they_are_in_the_lake(deployment):
    before = report(deployment)
    assert not before["finished_sessions_are_ingested"].passed
    assert not before["unsaved_sessions_are_far_from_deletion"].passed
    for day in (MONDAY, TUESDAY):
        assert deployment.run("ingest_day", day).success
    after = report(deployment)
    assert after["finished_sessions_are_ingested"].passed
    assert after["finished_sessions_are_ingested"].description == "no finished session waits"
    assert after["unsaved_sessions_are_far_from_deletion"].passed


def test_what_a_schedule_refreshes_is_expected_a_little_after_each_time(deployment):
    specs = {each.key.to_user_string(): each for each in deployment.definitions.resolve_all_asset_specs()}
    windows = {name: each.freshness_policy.fail_window for name, each in specs.items() if each.freshness_policy}
    assert windows["review_queue"].to_timedelta() == timedelta(days=8)
    assert windows["loop_status"].to_timedelta() == timedelta(hours=3)
    weekly = {"corpus_report", "storage_cleanup", "released_model_quality", "channel_signatures"}
    assert {windows[each].to_timedelta() for each in weekly} == {timedelta(days=8)}
    assert windows.keys() == {"review_queue", "loop_status", *weekly}


@pytest.mark.long
def test_failed_work_is_listed_until_it_succeeds(deployment):
    def list_failed() -> list[tuple[str, str, int]]:
        repository = deployment.definitions.get_repository_def()
        facts = read_orchestrator_facts(deployment.instance, repository, deployment.settings, datetime.now(UTC))
        return [(each.job, each.partition, each.attempts) for each in facts.failed]

    for _ in range(2):
        assert not deployment.run("update_text", MONDAY).success
    assert not deployment.run("update_text", TUESDAY).success
    assert sorted(list_failed()) == [("update_text", MONDAY, 2), ("update_text", TUESDAY, 1)]
    assert deployment.run("ingest_day", MONDAY).success  # builds the text of its day too
    assert list_failed() == [("update_text", TUESDAY, 1)]


@pytest.mark.long
def test_the_last_run_of_an_asset_has_its_result_and_duration(deployment):
    def read_runs() -> dict[str, AssetRun]:
        repository = deployment.definitions.get_repository_def()
        facts = read_orchestrator_facts(deployment.instance, repository, deployment.settings, datetime.now(UTC))
        return {each.asset: each for each in facts.asset_runs}

    assert read_runs() == {}
    assert not deployment.run("update_text", MONDAY).success
    assert not read_runs()["annotated_corpus"].has_succeeded
    assert deployment.run("ingest_day", MONDAY).success
    runs = read_runs()
    assert set(runs) == {"annotated_corpus", "raw_recordings"}
    assert all(each.has_succeeded and each.duration_s >= 0 for each in runs.values())


def test_schedules_have_their_next_time_and_sensors_none_before_their_first_evaluation(deployment):
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    facts = read_orchestrator_facts(
        deployment.instance, deployment.definitions.get_repository_def(), deployment.settings, now
    )
    ticks = {each.name: each for each in facts.ticks}
    assert ticks["weekly_review"].next_at == datetime(2026, 11, 30, 5, tzinfo=UTC)  # Monday 06:00 in Madrid
    assert ticks["quarterly_retraining"].next_at == datetime(2027, 1, 1, 2, tzinfo=UTC)
    assert ticks["new_recordings"].is_on
    assert ticks["new_recordings"].next_at is None
    assert facts.heartbeat_at is None


@pytest.mark.parametrize("retry_settings", [{"quarterly_cron": "30 2 * * 1", "retrain_every_weeks": 2}])
def test_the_next_training_is_in_a_week_that_counts(deployment):
    now = datetime(2026, 12, 8, tzinfo=UTC)
    repository = deployment.definitions.get_repository_def()
    facts = read_orchestrator_facts(deployment.instance, repository, deployment.settings, now)
    (training,) = (each for each in facts.ticks if each.name == "quarterly_retraining")
    assert training.next_at == datetime(2026, 12, 21, 1, 30, tzinfo=UTC)


def test_a_scheduled_run_that_failed_is_listed_with_its_next_try(deployment):
    run = deployment.instance.create_run_for_job(
        deployment.definitions.resolve_job_def("choose_for_review"),
        tags={OCCASION_TAG: "2026-03-02T06"},
        status=dg.DagsterRunStatus.STARTED,
    )
    deployment.instance.report_run_failed(run)
    repository = deployment.definitions.get_repository_def()
    (failed,) = read_orchestrator_facts(deployment.instance, repository, deployment.settings, datetime.now(UTC)).failed
    assert failed.next_try.startswith("it is tried again at ")


@pytest.mark.parametrize(
    ("job", "tag", "expected"),
    [
        ("erase_withdrawn", INPUTS_TAG, "it is tried again at "),  # its sensor gives it up for faults of the input only
        ("choose_for_review", OCCASION_TAG, ""),
        ("report_status", OCCASION_TAG, "it is not tried again by itself"),
    ],
)
def test_the_next_try_after_three_defects_is_that_of_the_sensor(deployment, job, tag, expected):
    for _ in range(3):
        run = deployment.instance.create_run_for_job(
            deployment.definitions.resolve_job_def(job),
            tags={tag: "2026-03-02T06", CAUSE_TAG: "program"},
            status=dg.DagsterRunStatus.STARTED,
        )
        deployment.instance.report_run_failed(run)
    repository = deployment.definitions.get_repository_def()
    (failed,) = read_orchestrator_facts(deployment.instance, repository, deployment.settings, datetime.now(UTC)).failed
    assert failed.next_try.startswith(expected)
    assert bool(failed.next_try) == bool(expected)
