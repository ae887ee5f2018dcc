import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from habla_ml.annotation.review_queue import load_queue
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.testing.command_line import run_habla_ml


def evaluate_weekly_review(deployment: DagsterDeployment, instance: dg.DagsterInstance) -> ScheduleExecutionData:
    schedule = deployment.definitions.resolve_schedule_def("weekly_review")
    repository = deployment.definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        repository_def=repository,
        resources={"lake": repository.get_top_level_resources()["lake"]},
        scheduled_execution_time=datetime(2026, 4, 6, 4, tzinfo=UTC),
    ) as context:
        return schedule.evaluate_tick(context)


def test_the_queue_has_reasons_in_the_ui_and_in_the_terminal(ingested):
    profile = str(ingested.folder / "configs" / "test.yaml")
    assert f"`habla-ml review --choose -p {profile}`" in run_habla_ml("review", "-p", profile).stdout
    assert ingested.materialize("review_queue").success
    queue = load_queue(ingested.lake())
    shown = ingested.metadata("review_queue")
    assert queue.items
    assert shown["segments"] == len(queue.items)
    assert "page" not in shown  # no service was ever started
    assert shown["minutes"] == pytest.approx(queue.minutes, abs=0.01)
    assert shown["share random %"] > 0
    assert shown["transcribed by"].startswith("no released model")
    assert "random" in shown["reasons"]
    assert shown["by speaker"].count("\n") == 1 + len({each.speaker for each in queue.items})
    first = queue.items[0]
    assert first.segment_id in shown["first items"]
    assert first.reasons[0] in shown["first items"]
    listed = run_habla_ml("review", "-p", profile, "--most", "1")
    assert listed.returncode == 0, listed.stderr
    assert first.session_id in listed.stdout
    assert f"1 of {len(queue.items)} segments" in listed.stdout
    assert "play and correct them at http://127.0.0.1:8787/correct" in listed.stdout
    rows = json.loads(run_habla_ml("review", "-p", profile, "--json", "--language", "es").stdout)
    assert [each["segment_id"] for each in rows] == [each.segment_id for each in queue.items]
    assert any("al azar" in why for each in rows for why in each["why"])


def test_a_playlist_has_the_recordings_and_a_table_all_segments(ingested):
    profile = str(ingested.folder / "configs" / "test.yaml")
    assert ingested.materialize("review_queue").success
    items = load_queue(ingested.lake()).items
    playlist, table = ingested.folder / "queue.m3u", ingested.folder / "queue.csv"
    for target in (playlist, table):
        done = run_habla_ml("review", "-p", profile, "--export", str(target))
        assert done.returncode == 0, done.stderr
    files = [Path(line) for line in playlist.read_text().splitlines() if not line.startswith("#")]
    assert len(files) == len(items)
    assert all(each.is_file() for each in files)
    with table.open(encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    assert [(each["session"], each["file"]) for each in rows] == [(each.parent.name, each.name) for each in files]
    again = run_habla_ml("review", "-p", profile, "--export", str(table))
    assert "is not overwritten" in again.stderr.replace("\n", " ")


def test_the_same_queue_has_the_same_data_version(ingested):
    assert ingested.materialize("review_queue").success
    first = ingested.metadata("review_queue")["object"]
    assert ingested.materialize("review_queue").success
    assert ingested.metadata("review_queue")["object"] == first


@pytest.mark.long
def test_the_schedule_requests_a_queue_after_the_first_recordings(deployment):
    with dg.instance_for_test() as instance:  # Schedules need an instance on disk.
        assert evaluate_weekly_review(deployment, instance).skip_message == "the lake has no recordings yet"
        assert deployment.run("ingest_day", "2026-03-02").success
        (request,) = evaluate_weekly_review(deployment, instance).run_requests
        assert request.run_key == "choose_for_review:2026-04-06T04:00"


def test_the_schedule_is_on_monday_morning_in_the_zone_of_the_settings(deployment):
    schedule = deployment.definitions.resolve_schedule_def("weekly_review")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * 1", "Europe/Madrid")
