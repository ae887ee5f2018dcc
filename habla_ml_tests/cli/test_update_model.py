"""`habla-ml update-model` on a server of Habla, against a CDN over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore
from habla_ml.process import hold_lock
from habla_ml.release.channel import Delivery
from habla_ml.release.keys import create_keys
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import Signing, generate_key
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files


class Origin:
    """A release store with its keys."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, generate_key()
        self.store = DirectoryStore(folder / "cdn")
        create_keys(self.store, generate_key(), self._key, datetime.now(UTC))
        self.keys = folder / "keys.json"
        self.keys.write_bytes(self.store.read("keys/000001.json"))

    def publish(self, version: str, rollout_percent: int = 100) -> str:
        files, signing = make_release_files(self._folder / "files", version), Signing((self._key,), timedelta(days=90))
        delivery = Delivery(rollout_percent=rollout_percent, minimum_app_version="99.0")
        published = publish_release(
            self.store, None, "stable", make_draft(version), files, delivery=delivery, signing=signing
        )
        return published.version


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def address(tmp_path: Path, origin: Origin) -> Iterator[str]:
    with serve_folder(tmp_path / "cdn") as found:
        yield found


def update(address: str, tmp_path: Path, *options: str) -> tuple[int, str]:
    keys = ("--keys", str(tmp_path / "keys.json"))
    done = run_habla_ml("update-model", address, str(tmp_path / "models"), *keys, *options)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_link_follows_each_release_that_reaches_this_machine(tmp_path: Path, origin: Origin, address: str) -> None:
    current = tmp_path / "models" / "current"
    code, printed = update(address, tmp_path)
    assert (code, "offers no model for 'habla' to this machine yet" in printed) == (1, True)
    first = origin.publish("v1")
    code, printed = update(address, tmp_path)
    assert (code, f"{first} is installed: {current}" in printed) == (0, True)
    assert '"model": "v1"' in (current / "config.json").read_text()
    origin.publish("v2", rollout_percent=0)
    code, printed = update(address, tmp_path)
    assert (code, f"{first} stays: {current}" in printed) == (0, True)
    third = origin.publish("v3")
    current.unlink()  # as after a kill before the link
    code, printed = update(address, tmp_path)
    assert (code, f"{third} is installed" in printed) == (0, True)
    assert '"model": "v3"' in (current / "config.json").read_text()


@pytest.mark.slow
def test_what_cannot_be_trusted_or_reached_leaves_the_model(tmp_path: Path, origin: Origin, address: str) -> None:
    origin.publish("v1")
    update(address, tmp_path)
    latest = tmp_path / "cdn/channels/stable/latest.json"
    content = latest.read_text()
    latest.unlink()
    latest.write_text(content.replace('\\"rollout_percent\\":100', '\\"rollout_percent\\":50'))
    code, printed = update(address, tmp_path)
    assert (code, "UntrustedReleaseError" in printed) == (1, True)
    code, printed = update("http://127.0.0.1:1", tmp_path)
    assert (code, "the CDN does not answer" in printed) == (1, True)
    assert '"model": "v1"' in (tmp_path / "models/current/config.json").read_text()
    with hold_lock(tmp_path / "models" / "lock", ValueError):
        code, printed = update(address, tmp_path)
    assert (code, f"process {os.getpid()} updates the models in" in printed) == (1, True)
    (tmp_path / "keys.json").unlink()
    code, printed = update(address, tmp_path)
    assert (code, "copy keys/000001.json of the release store there" in printed) == (1, True)
