"""Monitoring of the released version in Dagster: drift fails the check and sends one alert."""

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from habla_ml.definitions import build_definitions
from habla_ml.settings.models import AlertSettings, MonitoringSettings
from habla_ml_tests.evaluation.conftest import artefact
from habla_ml_tests.monitoring.conftest import lake, monitored_deployment, settings, store
from habla_ml_tests.testing.monitored_deployment import ERROR_RATE
from habla_ml_tests.testing.webhook_server import webhook

__all__ = ["artefact", "lake", "monitored_deployment", "settings", "store", "webhook"]


@pytest.fixture
def instance():
    with dg.instance_for_test() as found:
        yield found


@pytest.fixture
def school_with_webhook(monitored_deployment, webhook, monkeypatch):
    """The school with a webhook for alerts."""
    monkeypatch.setenv("SCHOOL_HOOK", webhook.url)
    monitoring = MonitoringSettings(alerts=AlertSettings(webhook_variable="SCHOOL_HOOK"))
    return replace(
        monitored_deployment, settings=monitored_deployment.settings.model_copy(update={"monitoring": monitoring})
    )


def run(monitored_deployment, instance):
    job = build_definitions(monitored_deployment.settings).resolve_job_def("watch_release")
    done = job.execute_in_process(instance=instance, raise_on_error=True)
    (materialised,) = done.asset_materializations_for_node("released_model_quality")
    checks = {each.check_name: each for each in done.get_asset_check_evaluations()}
    return {name: value.value for name, value in materialised.metadata.items()}, checks


@pytest.mark.slow
def test_drift_fails_the_check_and_sends_one_alert(school_with_webhook, webhook, instance):
    school_with_webhook.simulate_week(0, ERROR_RATE)
    school_with_webhook.simulate_week(1, ERROR_RATE)
    shown, checks = run(school_with_webhook, instance)
    assert shown["drift"].startswith("none: evidence")
    assert checks["as_good_as_released"].passed
    assert checks["hears_what_it_heard"].passed
    assert webhook.posted == []
    school_with_webhook.simulate_week(2, 0.6)
    school_with_webhook.simulate_week(3, 0.6)
    shown, checks = run(school_with_webhook, instance)
    assert shown["drift"].startswith("ALARM in the week of 2026-02-23")
    assert "| ALARM |" in shown["weeks"]
    assert shown["WER by week"].startswith("![WER by week; lines: at the release, and tolerated](<data:image/svg")
    assert shown["alerts sent"] == "drift/v1/2026-02-23 by webhook"
    assert not checks["as_good_as_released"].passed
    assert checks["as_good_as_released"].severity == dg.AssetCheckSeverity.ERROR
    assert checks["hears_what_it_heard"].passed
    again, _ = run(school_with_webhook, instance)
    assert (again["alerts sent"], again["clips decoded now"], again["object"]) == ("nothing new", 0, shown["object"])
    (posted,) = webhook.posted
    assert posted["key"] == "drift/v1/2026-02-23"


@pytest.mark.slow
def test_a_failed_delivery_keeps_the_record_and_is_retried_by_the_next_run(school_with_webhook, webhook, instance):
    for week in range(3):
        school_with_webhook.simulate_week(week, 0.7)
    webhook.next_statuses = [404]
    shown, checks = run(school_with_webhook, instance)
    assert "responded with HTTP 404; check its address; the next run sends the alert again" in shown["alerts sent"]
    assert not checks["as_good_as_released"].passed
    assert "by webhook" in run(school_with_webhook, instance)[0]["alerts sent"]
    assert len(webhook.posted) == 1


@pytest.mark.long
def test_nothing_is_monitored_without_a_release(settings, instance):
    schedule = build_definitions(settings).resolve_schedule_def("weekly_watch")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 7 * * 1", "Europe/Madrid")
    job = build_definitions(settings).resolve_job_def("watch_release")
    done = job.execute_in_process(instance=instance)
    assert all(each.passed for each in done.get_asset_check_evaluations())
    assert "the channel has no release yet" in evaluate_weekly_watch(settings, instance).skip_message


def test_the_schedule_requests_a_run_after_the_first_release(monitored_deployment, instance):
    (request,) = evaluate_weekly_watch(monitored_deployment.settings, instance).run_requests
    assert request.run_key == "watch_release:2026-04-06T05:00"


def evaluate_weekly_watch(settings, instance):
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        repository_def=repository,
        resources={"cdn": repository.get_top_level_resources()["cdn"]},
        scheduled_execution_time=datetime(2026, 4, 6, 5, tzinfo=UTC),
    ) as context:
        return definitions.resolve_schedule_def("weekly_watch").evaluate_tick(context)
