"""The demo's phone follows the channel: to a signed release, to the next one, and back with a rollback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.client.problems import UntrustedReleaseError
from habla_ml.demo.model_update import PhoneUpdate, update_phone
from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import read_channel
from habla_ml.release.keys import create_keys
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import UNSIGNED, Signing, generate_key
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "cdn")


@pytest.fixture
def signing(store: DirectoryStore) -> Signing:
    root, key = generate_key(), generate_key()
    create_keys(store, root, key, datetime.now(UTC))
    return Signing((key,), timedelta(days=90))


def publish(store: DirectoryStore, folder: Path, version: str, signing: Signing) -> str:
    files = make_release_files(folder / "files", version)
    return publish_release(store, None, "stable", make_draft(version), files, signing=signing).version


def test_without_a_release_the_phone_keeps_no_model(tmp_path: Path) -> None:
    assert update_phone(tmp_path / "cdn", tmp_path / "phone", "stable") == PhoneUpdate(None, None, 0)


def test_the_phone_installs_each_release_and_keeps_it(tmp_path: Path, store: DirectoryStore, signing: Signing) -> None:
    first = publish(store, tmp_path, "v1", signing)
    installed = update_phone(tmp_path / "cdn", tmp_path / "phone", "stable")
    current = read_channel(store, "stable").current
    assert current is not None
    assert (installed.before, installed.after) == (None, first)
    assert installed.received_bytes == current.models["ios"].size_bytes > 0
    kept = update_phone(tmp_path / "cdn", tmp_path / "phone", "stable")
    assert (kept.before, kept.after, kept.received_bytes) == (first, first, 0)
    second = publish(store, tmp_path, "v2", signing)
    updated = update_phone(tmp_path / "cdn", tmp_path / "phone", "stable")
    assert (updated.before, updated.after) == (first, second)
    rollback(store, "stable", signing=signing)
    assert update_phone(tmp_path / "cdn", tmp_path / "phone", "stable").after == first


def test_the_phone_refuses_a_release_that_nobody_signed(
    tmp_path: Path, store: DirectoryStore, signing: Signing
) -> None:
    first = publish(store, tmp_path, "v1", signing)
    update_phone(tmp_path / "cdn", tmp_path / "phone", "stable")
    publish(store, tmp_path, "v2", UNSIGNED)
    with pytest.raises(UntrustedReleaseError):
        update_phone(tmp_path / "cdn", tmp_path / "phone", "stable")
    publish(store, tmp_path, "v3", signing)
    assert update_phone(tmp_path / "cdn", tmp_path / "phone", "stable").before == first
