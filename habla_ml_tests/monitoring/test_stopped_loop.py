"""What stops the loop, and one alert for each time that it does, over a real web server."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from habla_ml.annotation.review_queue import save_queue
from habla_ml.errors import LakeError
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake
from habla_ml.monitoring.alert_state import Condition, ConditionReport, send_new_alerts
from habla_ml.monitoring.loop_watch import LoopWatch
from habla_ml.monitoring.stopped_loop import deletion_bound, examine_loop
from habla_ml.settings.models import AlertSettings
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    set_age,
    write_session,
)
from habla_ml_tests.testing.received_clips import make_inbox
from habla_ml_tests.testing.webhook_server import WebhookServer, webhook

__all__ = ["webhook"]

CHANNEL = AlertSettings(webhook_variable="HOOK")


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    loop = {"folders_before_deletion": 2, "least_free_gb": 0, "interval_s": 1}
    workspace = make_workspace(tmp_path, recordings={"max_recordings": 6}, monitoring={"loop": loop})
    save_queue(workspace.lake, [], NOW)
    return workspace


def add_session(workspace: HablaWorkspace, hour: int, age_h: float = 1.0) -> Path:
    session = write_session(workspace.recordings, f"lucia_20260216_{hour:02d}0000", 1)
    set_age(session, age_h)
    return session


def find_keys(workspace: HablaWorkspace, hours_later: float = 0.0) -> list[str]:
    report = examine_loop(lambda: workspace.lake, workspace.settings, NOW + timedelta(hours=hours_later))
    return [each.key for each in report.conditions]


@pytest.fixture
def look(workspace: HablaWorkspace, webhook: WebhookServer) -> Callable[..., list[str]]:
    """Return a function that looks at the loop twice, 3 s apart, and returns the subjects of the alerts that arrived."""
    state: list[str | None] = [None]

    def look_twice(
        hours_later: float = 0.0, open_workspace_lake: Callable[[], Lake] = lambda: workspace.lake
    ) -> list[str]:
        before = len(webhook.posted)
        for seconds in (0, 3):
            now = NOW + timedelta(hours=hours_later, seconds=seconds)
            report = examine_loop(open_workspace_lake, workspace.settings, now)
            state[0] = send_new_alerts(report, state[0], CHANNEL, now, {"HOOK": webhook.url}).state
        return [each["subject"] for each in webhook.posted[before:]]

    return look_twice


def refuse_lake() -> Lake:
    raise LakeError("the disk of the lake is not mounted")


def test_the_deletion_alert_is_sent_once_and_again_after_the_recording_was_safe(workspace, look, webhook):
    for hour in (8, 9, 10, 11):
        add_session(workspace, hour)
    assert look() == []  # the oldest is three sessions from its deletion
    add_session(workspace, 12)
    assert look() == ["A recording that is not in the lake is 2 folders from being deleted"]
    assert look() == []
    assert "the session of 2026-02-16 08:00 after 2 more sessions" in webhook.posted[0]["text"]
    assert "lucia" not in str(webhook.posted)
    ingest_into(workspace)
    assert look() == []
    shutil.rmtree(workspace.root / "lake" / "recordings", ignore_errors=True)
    for pointer in (workspace.root / "lake").rglob("2026-02-16*"):
        pointer.unlink()
    assert len(look()) == 1


def test_a_refused_alert_is_repeated_until_it_is_delivered(workspace, look, webhook):
    for hour in range(8, 13):
        add_session(workspace, hour)
    webhook.next_statuses = [404, 404, 404]
    assert look() == []  # the second evaluation sends it for the first time
    assert look(0.1) == []
    assert len(look(0.2)) == 1
    assert look() == []


def test_finished_sessions_that_wait_too_long_are_reported_and_holidays_are_not(workspace):
    assert find_keys(workspace, hours_later=24 * 7) == []  # no session since a week
    add_session(workspace, 8, age_h=5)
    assert find_keys(workspace) == []
    assert find_keys(workspace, hours_later=2) == ["waiting"]
    ingest_into(workspace)
    assert find_keys(workspace, hours_later=2) == []


def test_a_lake_that_stays_down_is_reported_with_what_habla_keeps(workspace, look, webhook):
    for hour in range(8, 13):
        add_session(workspace, hour)
    assert len(look()) == 1
    assert look(0.1, refuse_lake) == []  # a short outage
    assert look(0.4, refuse_lake) == ["The lake cannot be read"]
    assert "unknown which recordings are safe" in webhook.posted[-1]["text"]
    assert "Habla keeps 6 folders and has 5" in webhook.posted[-1]["text"]
    # The deletion alert was sent before the outage and is not sent again after it.
    assert look(0.5) == []


def test_a_lake_that_does_not_answer_is_an_outage_and_is_asked_by_one_look_at_a_time(workspace):
    answers, asked = Event(), list[int]()

    def wait_for_lake() -> Lake:
        asked.append(1)
        answers.wait(60)
        return workspace.lake

    watch = LoopWatch(workspace.settings, longest_look_s=0.05)
    for _ in range(2):
        report = watch.examine(wait_for_lake, NOW)
        assert [each.key for each in report.conditions] == ["lake"]
        assert {"deletion", "waiting", "review_queue", "recordings_folder", "disk", "uploads"} == report.unknown
    assert len(asked) == 1
    answers.set()
    assert LoopWatch(workspace.settings).examine(lambda: workspace.lake, NOW).conditions == ()
    with pytest.raises(ZeroDivisionError):
        LoopWatch(workspace.settings).examine(lambda: 1 // 0, NOW)


def test_a_webhook_that_does_not_answer_is_asked_once_in_a_call(workspace, monkeypatch):
    monkeypatch.setattr("habla_ml.monitoring.alerts._TIMEOUT_S", 0.2)
    monkeypatch.setattr("habla_ml.monitoring.alerts._SLOW_S", 0.1)
    report = ConditionReport(tuple(Condition(key, key, "text") for key in ("disk", "waiting", "lake")))
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        silent_server.setblocking(False)
        hook = {"HOOK": f"http://127.0.0.1:{silent_server.getsockname()[1]}/"}
        sent = send_new_alerts(report, None, CHANNEL, NOW, hook)
        silent_server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent_server.accept()
    assert sent.active == ("disk", "waiting", "lake")
    assert sent.silent == {"webhook"}


def test_an_alert_that_a_channel_refuses_at_once_does_not_hold_up_the_next(webhook):
    report = ConditionReport(tuple(Condition(key, key, "text") for key in ("disk", "waiting")))
    webhook.next_statuses = [400]
    send_new_alerts(report, None, CHANNEL, NOW, {"HOOK": webhook.url})
    assert [each["subject"] for each in webhook.posted] == ["waiting"]


def test_an_unreadable_lake_folder_is_an_outage(workspace):
    lake_folder = workspace.root / "lake"
    shutil.rmtree(lake_folder)
    lake_folder.write_text("a file")
    report = examine_loop(lambda: open_lake(workspace.settings.lake, workspace.root / "cache"), workspace.settings, NOW)
    assert [each.key for each in report.conditions] == ["lake"]


def test_a_missing_recordings_folder_is_reported_once_there_were_recordings(workspace):
    shutil.rmtree(workspace.recordings)
    assert find_keys(workspace) == []
    workspace.recordings.mkdir()
    add_session(workspace, 8)
    ingest_into(workspace)
    shutil.rmtree(workspace.recordings)
    assert find_keys(workspace) == ["recordings_folder"]


def test_an_old_review_queue_is_reported_only_with_recordings(workspace):
    assert find_keys(workspace, hours_later=24 * 9) == []
    add_session(workspace, 8)
    ingest_into(workspace)
    assert find_keys(workspace) == []
    assert find_keys(workspace, hours_later=24 * 9) == ["review_queue"]


def test_a_new_deployment_gets_no_alert_before_its_first_review_queue_was_due(tmp_path, webhook):
    workspace = make_workspace(tmp_path, monitoring={"loop": {"least_free_gb": 0}})
    add_session(workspace, 8)
    ingest_into(workspace)
    state = None
    for days, expected in ((0, 0), (7, 0), (9, 1)):
        now = NOW + timedelta(days=days)
        report = examine_loop(lambda: workspace.lake, workspace.settings, now)
        sent = send_new_alerts(report, state, CHANNEL, now, {"HOOK": webhook.url})
        state = sent.state
        assert len(webhook.posted) == len(sent.active) == expected
    assert sent.active == ("review_queue",)


def test_little_free_space_is_reported(tmp_path):
    workspace = make_workspace(tmp_path, monitoring={"loop": {"least_free_gb": 1e9}})
    assert find_keys(workspace) == ["disk"]


def test_the_bound_is_never_more_than_half_of_what_habla_keeps(tmp_path):
    assert deletion_bound(make_workspace(tmp_path).settings) == 20
    assert deletion_bound(make_workspace(tmp_path, recordings={"max_recordings": 6}).settings) == 3


def test_a_damaged_state_sends_again_and_does_not_fail(webhook, tmp_path):
    workspace = make_workspace(tmp_path, monitoring={"loop": {"least_free_gb": 1e9}})
    report = examine_loop(lambda: workspace.lake, workspace.settings, NOW)
    for state in ("no json", "[]", '{"disk": 3}'):
        send_new_alerts(report, state, CHANNEL, NOW, {"HOOK": webhook.url})
    assert len(webhook.posted) == 3


def test_received_clips_that_wait_too_long_and_a_broken_database_are_conditions(workspace: HablaWorkspace) -> None:
    assert find_keys(workspace) == []
    inbox = make_inbox(workspace.root)
    inbox.receive(1, received_at=NOW - timedelta(hours=5))
    assert find_keys(workspace) == []
    assert find_keys(workspace, hours_later=2) == ["uploads"]
    inbox.ingest((NOW - timedelta(hours=5)).strftime("%Y-%m-%dT%H"))
    assert find_keys(workspace, hours_later=2) == []
    inbox.database.close()
    for path in (workspace.root / "service").glob("service.sqlite*"):
        path.write_bytes(b"no database" * 1_000)
    (condition,) = examine_loop(lambda: workspace.lake, workspace.settings, NOW).conditions
    assert (condition.key, condition.subject) == ("uploads", "The service's database cannot be read")
