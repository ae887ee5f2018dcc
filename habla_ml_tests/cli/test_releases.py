"""`habla-ml releases`, `rollback`, `promote`, `rollout` and `renew` on the channels of a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import ChannelPointer, read_channel
from habla_ml.release.keys import open_signing, read_newest_keys
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.command_line import CommandInProcess
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "cdn")


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: DirectoryStore
) -> CommandInProcess:
    """The command of a deployment with v1, v2 and v3 on stable, and v4 on beta."""
    release = {"store": {"url": "cdn"}, "minimum_app_version": "2.0", "rollout_percent": 20}
    signing = open_signing(write_settings(tmp_path, release=release), store, NOON)
    for version, channel in (("v1", "stable"), ("v2", "stable"), ("v3", "stable"), ("v4", "beta")):
        files = make_release_files(tmp_path, version)
        publish_release(store, None, channel, make_draft(version), files, NOON, signing=signing)
    return CommandInProcess(tmp_path / "configs/here.yaml", capsys, monkeypatch)


def read_current(store: DirectoryStore, channel: str = "stable") -> ChannelPointer:
    found = read_channel(store, channel).current
    assert found is not None
    return found


def test_a_person_who_saw_an_older_state_does_not_go_back_twice(
    command: CommandInProcess, store: DirectoryStore
) -> None:
    assert (
        "stable is at move 3 (release), for 100 % of the devices, signed until 2027-02-19"
        in command.run("releases").out
    )
    assert "stable now points to 2026.11.21-v2" in command.run("rollback", "--seen", "3").out
    again = command.run("rollback", "--seen", "3")
    assert (again.code, "is at move 4, not at 3 as it was seen; look again" in again.err) == (1, True)
    assert read_current(store).model_version == "v2"
    assert "stable now points to 2026.11.21-v1" in command.run("rollback", "--seen", "4", "--to", "v1").out
    unknown = command.run("rollback", "--to", "v9")
    assert (unknown.code, "'v9' was never released on channel stable" in unknown.err) == (1, True)


def test_listings_are_json_for_programs(command: CommandInProcess) -> None:
    releases = json.loads(command.run("releases", "--json").out)
    assert [(each["model_version"], each["is_current"]) for each in releases] == [
        ("v3", True),
        ("v2", False),
        ("v1", False),
    ]
    assert releases[0]["released_at"] == NOON.isoformat()
    keys = json.loads(command.run("keys", "list", "--json").out)
    assert {each["role"] for each in keys} == {"root", "release"}
    assert json.loads(command.run("device", "list", "--json").out) == []
    assert "`habla-ml device enrol LABEL -p " in " ".join(command.run("device", "list").out.split())
    assert json.loads(command.run("account", "list", "--json").out) == []


def test_a_channel_without_a_release_says_where_the_reason_is(command: CommandInProcess) -> None:
    listed = " ".join(command.run("releases", "--channel", "canary").out.split())
    assert listed == "no release on the channel canary; the report of a version says why it was not released"


def test_a_damaged_file_of_any_release_is_named(
    command: CommandInProcess, store: DirectoryStore, tmp_path: Path
) -> None:
    whole = command.run("releases", "--verify")
    assert (whole.code, whole.out.count("every file is as it was published")) == (0, 3)
    [archive] = (tmp_path / "cdn/releases/v1").glob("*ctranslate2*.zip")
    data = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    damaged = command.run("releases", "--verify")
    assert (damaged.code, damaged.out.count("every file is as it was published")) == (1, 2)
    assert f"{archive.name} in" in damaged.out
    assert "is damaged" in damaged.out
    listed = command.run("releases", "--verify", "--json")
    found = {each["model_version"]: each["problem"] for each in json.loads(listed.out)}
    assert (listed.code, found["v3"], found["v2"], "is damaged" in found["v1"]) == (1, None, None, True)


def test_each_move_is_signed_by_the_key_that_apps_trust(command: CommandInProcess, store: DirectoryStore) -> None:
    command.run("rollback")
    [key_id] = read_newest_keys(store).keys.release_keys
    assert [each.key for each in read_current(store).signed.signatures] == [key_id]
    assert "signed until" in command.run("releases").out


def test_a_release_of_beta_is_promoted_to_a_share_and_then_to_all(
    command: CommandInProcess, store: DirectoryStore
) -> None:
    assert "stable now points to 2026.11.21-v4, for 20 % of the devices" in command.run("promote", "beta").out
    current = read_current(store)
    assert (current.minimum_app_version, current.rollout_percent, current.critical) == ("2.0", 20, False)
    wider = command.run("rollout", "100", "--critical", "--seen", str(current.sequence))
    assert "stable offers 2026.11.21-v4 to 100 % of the devices" in wider.out
    assert (read_current(store).rollout_percent, read_current(store).critical) == (100, True)
    late = command.run("rollout", "50", "--seen", str(current.sequence))
    assert (late.code, "look again" in late.err) == (1, True)
    assert command.run("rollout", "101").code == 2
    assert read_current(store, "beta").model_version == "v4"


def test_what_is_not_there_is_not_promoted(command: CommandInProcess, store: DirectoryStore) -> None:
    missing = command.run("promote", "nightly")
    assert (missing.code, "channel nightly" in missing.err) == (1, True)
    invalid = command.run("promote", "../beta")
    assert (invalid.code, "invalid channel name" in invalid.err) == (1, True)
    stale = command.run("promote", "beta", "--seen", "9")
    assert (stale.code, "is at move 1, not at 9" in stale.err) == (1, True)
    assert read_current(store).model_version == "v3"


def test_a_channel_is_signed_anew_without_a_move(command: CommandInProcess, store: DirectoryStore) -> None:
    assert "stable is signed until" in command.run("renew").out
    current = read_current(store)
    assert (current.sequence, current.move, current.signed is None) == (3, "release", False)
    assert "nightly has no release yet" in command.run("renew", "--channel", "nightly").out


def test_a_person_reads_moments_in_the_zone_of_the_deployment(command: CommandInProcess) -> None:
    assert f"{NOON.astimezone(ZoneInfo('Europe/Madrid')):%Y-%m-%d %H:%M}" in command.run("releases").out
