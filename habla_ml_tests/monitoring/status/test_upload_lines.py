"""What the status says of the clips and corrections that the service received."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.lake.factory import open_store
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.inputs import StatusInputs
from habla_ml.monitoring.status.loop_status import LoopStatus, read_loop_status
from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace
from habla_ml_tests.testing.received_clips import HOUR, RECEIVED, Inbox, make_inbox


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def read_status(workspace: HablaWorkspace, now: datetime) -> LoopStatus:
    settings = workspace.settings
    store = settings.release.store
    inputs = StatusInputs(settings, now, lambda: workspace.lake, lambda: open_store(store), lambda: None)
    return read_loop_status(inputs)


def find_lines(workspace: HablaWorkspace, after: timedelta = timedelta(minutes=10)) -> dict[str, Finding]:
    sections = read_status(workspace, RECEIVED + after).sections
    return {each.subject: each for section in sections for each in section.findings if "upload" in each.subject}


def test_without_a_service_there_is_no_line(tmp_path: Path) -> None:
    assert find_lines(make_workspace(tmp_path)) == {}


def test_clips_wait_until_they_are_ingested_and_too_long_a_wait_is_wrong(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.receive(2)
    found = find_lines(inbox.workspace)["uploads"]
    assert (found.health, found.values) == ("ok", {"waiting": 2, "waiting_for_consent": 0, "hours": 0.17})
    assert found.found == "2 received clips not in the lake yet; the oldest waits 10 min"
    late = find_lines(inbox.workspace, timedelta(hours=7))["uploads"]
    assert (late.health, late.next_step) == ("wrong", "look at the daemon and the failed runs below")
    assert read_status(inbox.workspace, RECEIVED).figures["uploads waiting"] == 2
    inbox.ingest()
    found = find_lines(inbox.workspace, timedelta(hours=7))["uploads"]
    assert (found.health, found.found) == ("ok", "no received clip waits for its ingest")


def test_what_is_set_aside_is_listed_by_hour_without_a_byte_of_it(inbox: Inbox) -> None:
    assert find_lines(inbox.workspace)["uploads set aside"].found == "none"
    inbox.receive(1, b"secreto")
    inbox.receive(2)
    inbox.ingest()
    inbox.add_data_point(1, clip=2, text="Good morning.", language="en")
    inbox.add_data_point(2, clip=7, text="Sin audio.")
    inbox.collect()
    lines = find_lines(inbox.workspace)
    aside = lines["uploads set aside"]
    assert (aside.health, aside.values) == ("note", {"clips": 1, "corrections": 1})
    assert f"1 clip: {HOUR} (1); for example one is no audio of a known kind" in aside.found
    assert "1 correction in another language" in aside.found
    assert not any(secret in aside.found for secret in ("secreto", "morning"))
    assert lines["uploaded corrections"].found == "1 correction of devices without a clip in the lake"
