"""`habla-ml keys`: what is printed, what is refused, and that no private key is ever printed."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from habla_ml.client.signatures import count_valid_signatures
from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import read_channel
from habla_ml.release.keys import open_signing, read_newest_keys
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import load_keys, save_key
from habla_ml.settings import Settings
from habla_ml_tests.testing.command_line import CommandInProcess
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("HABLA_RELEASE_KEY", "HABLA_ROOT_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    return write_settings(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "cdn")


@pytest.fixture
def command(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandInProcess:
    return CommandInProcess(tmp_path / "configs/here.yaml", capsys, monkeypatch)


def list_names(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.keys_folder.iterdir())


def test_keys_are_made_once_for_their_owner_only(
    command: CommandInProcess, settings: Settings, store: DirectoryStore
) -> None:
    assert (
        f"there are no keys yet; `{settings.command('keys', 'create')}` makes them" in command.run("keys", "list").out
    )
    assert "move root-*.pem to a stick" in command.run("keys", "create").out
    names = list_names(settings)
    assert [name.partition("-")[0] for name in names] == ["release", "root"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in settings.keys_folder.iterdir()} == {0o600}
    assert command.run("keys", "create").code == 0
    assert list_names(settings) == names
    listed = command.run("keys", "list").out
    newest = read_newest_keys(store).keys
    for key_id in (*newest.root_keys, *newest.release_keys):
        assert key_id in listed
    assert listed.count("here") == 2
    assert f"version 1, trusted until {newest.expires:%Y-%m-%d}" in listed


def test_a_key_is_replaced_and_the_channels_are_signed_by_those_that_count(
    command: CommandInProcess, settings: Settings, store: DirectoryStore, tmp_path: Path
) -> None:
    command.run("keys", "create")
    now = datetime.now(UTC)
    signing, files = open_signing(settings, store, now), make_release_files(tmp_path, "v1")
    publish_release(store, None, "stable", make_draft("v1"), files, signing=signing)
    old = signing.keys[0]
    assert "version 2 of the document of keys trusts it" in command.run("keys", "rotate").out
    new = next(each for each in load_keys(settings.keys_folder, "release") if each.key_id != old.key_id)
    keys = {each.key_id: each.public_bytes for each in (old, new)}
    state = read_channel(store, "stable").current
    assert count_valid_signatures("habla_ml.channel/2", state.signed, keys) == 2
    assert f"no longer trusts {old.key_id}" in command.run("keys", "revoke", old.key_id).out
    state = read_channel(store, "stable").current
    assert [each.key for each in state.signed.signatures] == [new.key_id]
    assert state.sequence == 1
    refused = command.run("keys", "revoke", new.key_id)
    assert (refused.code, "add its successor" in refused.err) == (1, True)


def test_without_a_root_key_at_hand_nothing_changes(
    command: CommandInProcess, settings: Settings, store: DirectoryStore, tmp_path: Path
) -> None:
    command.run("keys", "create")
    [root] = settings.keys_folder.glob("root-*.pem")
    stick = tmp_path / root.name
    root.rename(stick)
    names = list_names(settings)
    [release] = read_newest_keys(store).keys.release_keys
    for arguments in (("rotate",), ("rotate", "--root"), ("revoke", release), ("renew",)):
        found = command.run("keys", *arguments)
        assert found.code == 1
        assert f"put root-<id>.pem of {stick.stem.partition('-')[2]} into the folder of keys" in found.err
    assert list_names(settings) == names, "the key of a failed rotation is removed"
    assert read_newest_keys(store).keys.version == 1
    assert "elsewhere" in command.run("keys", "list").out
    stick.rename(root)
    assert "version 2 of the document of keys is trusted until" in command.run("keys", "renew").out


def test_a_root_key_with_a_passphrase_is_listed_without_it_and_used_with_it(
    command: CommandInProcess, settings: Settings, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.run("keys", "create")
    [path] = settings.keys_folder.glob("root-*.pem")
    [key] = load_keys(settings.keys_folder, "root")
    path.unlink()
    save_key(settings.keys_folder, "root", key, "cuatro palabras muy largas")
    assert command.run("keys", "list").out.count("here") == 2
    refused = command.run("keys", "rotate", "--root")
    assert (refused.code, "set HABLA_ROOT_PASSPHRASE" in refused.err) == (1, True)
    assert len(list_names(settings)) == 2
    monkeypatch.setenv("HABLA_ROOT_PASSPHRASE", "cuatro palabras muy largas")
    assert command.run("keys", "renew").code == 0
    assert read_newest_keys(store).keys.version == 2


def test_no_output_has_a_private_key(
    command: CommandInProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.run("keys", "create")
    [path] = settings.keys_folder.glob("release-*.pem")
    pem = path.read_text()
    monkeypatch.setenv("HABLA_RELEASE_KEY", pem)
    for arguments in (("list",), ("rotate",), ("renew",), ("revoke", "0" * 16)):
        command.run("keys", *arguments)
    before = list_names(settings)
    path.write_text(pem.replace("BEGIN", "BEGAN"))
    assert path.name in command.run("keys", "rotate").err
    monkeypatch.setenv("HABLA_RELEASE_KEY", pem.replace("-----", "---"))
    assert "HABLA_RELEASE_KEY is no private key" in command.run("keys", "rotate").err
    assert list_names(settings) == before, "a damaged key is found before anything changes"
    secrets = {line for each in settings.keys_folder.iterdir() for line in each.read_text().splitlines()[1:-1]}
    assert len(secrets) == 3
    assert not any(secret in command.everything for secret in secrets)
