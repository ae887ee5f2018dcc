"""Alerts of failed runs and of a stopped loop, as the daemon's sensors send them to a real web server."""

from __future__ import annotations

import shutil
from datetime import timedelta

import dagster as dg
import pytest

from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment
from habla_ml_tests.testing.webhook_server import webhook

__all__ = ["webhook"]


@pytest.fixture
def tree(tree: dict) -> dict:
    loop = {"least_free_gb": 0, "most_hours_waiting": 1e9, "folders_before_deletion": 0}
    return {**tree, "monitoring": {"alerts": {"webhook_variable": "HOOK"}, "loop": loop}}


class SensorDaemon:
    """Evaluates a sensor as the daemon does, with the cursor of its last tick."""

    def __init__(self, deployment: DagsterDeployment, name: str) -> None:
        self.deployment, self.name, self.cursor = deployment, name, None

    def tick(self) -> str:
        """Evaluate the sensor once and return its skip reason."""
        sensor = self.deployment.definitions.resolve_sensor_def(self.name)
        known = self.deployment.definitions.get_repository_def().get_top_level_resources()
        resources = {name: known[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(
            instance=self.deployment.instance, cursor=self.cursor, sensor_name=self.name, resources=resources
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return found.skip_message or ""


@pytest.fixture
def failures(deployment, webhook, monkeypatch) -> SensorDaemon:
    monkeypatch.setenv("HOOK", webhook.url)
    sensor = SensorDaemon(deployment, "failed_runs")
    sensor.tick()  # the first tick only sets the cursor
    return sensor


def fail_day(deployment: DagsterDeployment, day: str) -> None:
    assert not deployment.run("update_text", day).success


@pytest.mark.long
def test_one_alert_for_each_day_and_fault_until_the_day_succeeds(deployment, failures, webhook):
    for _ in range(3):
        fail_day(deployment, MONDAY)  # its recordings are not in the lake
        failures.tick()
    assert [each["subject"] for each in webhook.posted] == [f"update_text failed for {MONDAY}: CorpusError"]
    fail_day(deployment, TUESDAY)
    failures.tick()
    assert len(webhook.posted) == 2
    assert deployment.run("ingest_day", MONDAY).success
    shutil.rmtree(deployment.folder / "lake")
    fail_day(deployment, MONDAY)
    failures.tick()
    assert [each["subject"] for each in webhook.posted][2:] == [f"update_text failed for {MONDAY}: CorpusError"]


def test_a_refused_alert_is_repeated_by_the_other_sensor_and_fails_no_tick(deployment, failures, webhook):
    watch = SensorDaemon(deployment, "loop_alerts")
    webhook.next_statuses = [404, 404]
    fail_day(deployment, MONDAY)
    failures.tick()
    assert "HTTP 404" in watch.tick()
    assert webhook.posted == []
    assert "sent by webhook" in watch.tick()
    assert len(webhook.posted) == 1
    assert "sent by webhook" not in watch.tick()
    assert len(webhook.posted) == 1


def test_a_failure_that_the_run_failure_sensor_missed_is_reported_later(deployment, webhook, monkeypatch):
    monkeypatch.setenv("HOOK", webhook.url)
    fail_day(deployment, MONDAY)
    watch = SensorDaemon(deployment, "loop_alerts")
    watch.tick()
    assert webhook.posted == []  # the run-failure sensor may still come
    monkeypatch.setattr("habla_ml.defs.monitoring.failed_runs._SENSOR_DELAY", timedelta())
    watch.tick()
    watch.tick()
    assert [each["subject"] for each in webhook.posted] == [f"update_text failed for {MONDAY}: CorpusError"]


@pytest.mark.long
def test_a_hundred_days_with_one_fault_send_five_alerts(deployment, failures, webhook):
    for day in range(1, 9):
        fail_day(deployment, f"2026-04-{day:02d}")
        failures.tick()
    assert len(webhook.posted) == 5


def test_a_run_that_dagster_retries_sends_no_alert_and_its_error_is_known(deployment, failures, webhook):
    run = deployment.run("update_text", MONDAY, **{"dagster/will_retry": "true"})
    failures.tick()
    assert webhook.posted == []
    stored = deployment.instance.get_run_by_id(run.run_id)
    assert stored is not None
    assert stored.tags["habla_ml/error"] == "CorpusError"


def test_a_run_that_lost_its_process_sends_an_alert(deployment, failures, webhook):
    job = deployment.definitions.resolve_job_def("update_text")
    run = deployment.instance.create_run_for_job(
        job, tags={"dagster/partition": MONDAY}, status=dg.DagsterRunStatus.STARTED
    )
    deployment.instance.report_run_failed(run)  # as the monitoring of Dagster's daemon does
    failures.tick()
    assert [each["subject"] for each in webhook.posted] == [f"update_text failed for {MONDAY}: lost process"]


def test_the_message_has_no_error_text(deployment, failures, webhook):
    fail_day(deployment, MONDAY)
    failures.tick()
    (posted,) = webhook.posted
    assert "no recordings" not in str(posted)
    assert "habla-ml status" in posted["text"]


def test_the_alert_of_a_lake_that_is_down_is_sent_without_the_lake(deployment, webhook, monkeypatch):
    monkeypatch.setenv("HOOK", webhook.url)
    shutil.rmtree(deployment.folder / "lake", ignore_errors=True)
    (deployment.folder / "lake").write_text("a file")
    watch = SensorDaemon(deployment, "loop_alerts")
    assert watch.tick() == "wrong now: nothing"  # a short outage is no alert
    watch.cursor = (watch.cursor or "").replace('"since": "20', '"since": "19')  # it began a century ago
    assert "wrong now: lake" in watch.tick()
    watch.tick()
    assert [each["subject"] for each in webhook.posted] == ["The lake cannot be read"]


def test_nothing_is_wrong_in_a_healthy_loop(ingested, webhook, monkeypatch):
    monkeypatch.setenv("HOOK", webhook.url)
    assert SensorDaemon(ingested, "loop_alerts").tick() == "wrong now: nothing"
    assert webhook.posted == []
