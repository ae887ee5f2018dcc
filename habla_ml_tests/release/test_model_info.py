"""The files of the CDN that name the latest model: they follow the channel, also after kills and races."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Store
from habla_ml.lake.store import StoreEntry, VersionedValue
from habla_ml.release.channel import Delivery
from habla_ml.release.manifest import ReleaseDraft
from habla_ml.release.model_info import ModelInfoCache, get_model_info_key, write_model_infos
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files


def publish(store: Store, folder: Path, version: str, address: str | None = "https://models.example.org") -> None:
    files = make_release_files(folder, version)
    delivery = Delivery(minimum_app_version="1.4", rollout_percent=10)
    publish_release(store, address, "stable", make_draft(version), files, NOON, delivery=delivery)


def read_info(store: Store, platform: str = "ios") -> dict[str, object]:
    found: dict[str, object] = json.loads(store.read(get_model_info_key("stable", platform)))
    return found


def test_a_release_writes_a_file_for_each_platform(
    store: Store, draft: ReleaseDraft, files: Mapping[str, Path], tmp_path: Path
) -> None:
    publish(store, tmp_path, "v2")
    offered = json.loads(store.read("channels/stable/latest.json"))["models"]["ios"]
    assert read_info(store) == {
        "platform": "ios",
        "channel": "stable",
        "sequence": 1,
        "version": "2026.11.21-v2",
        "number": 1,
        "modelVersion": "v2",
        "url": offered["url"],
        "sha256": offered["sha256"],
        "sizeBytes": offered["size_bytes"],
        "format": "mlpackage",
        "minimumOSVersion": "16.0",
        "minimumAppVersion": "1.4",
        "rolloutPercent": 10,
        "critical": False,
        "move": "release",
        "expiresAt": "2027-02-19T12:00:00Z",
        "signed": None,
    }
    habla = read_info(store, "habla")
    assert habla["format"] == "ctranslate2"
    assert str(habla["url"]).startswith("https://models.example.org/releases/v2/habla-ctranslate2-v2-")


def test_a_rollback_moves_the_files_too_and_reaches_every_device(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2")
    rollback(store, "stable")
    found = read_info(store)
    assert (found["modelVersion"], found["number"], found["sequence"]) == ("v1", 1, 3)
    assert (found["move"], found["rolloutPercent"]) == ("rollback", 100)


def test_the_next_call_completes_the_files_of_a_move_that_was_killed(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    before = {platform: store.read_versioned(get_model_info_key("stable", platform)) for platform in ("ios", "habla")}
    publish(store, tmp_path, "v2")
    for platform, old in before.items():
        key = get_model_info_key("stable", platform)
        present = store.read_versioned(key)
        assert old is not None
        assert present is not None
        store.compare_and_set(key, old.data, present.tag)
    publish(store, tmp_path, "v2")
    assert {read_info(store, each)["modelVersion"] for each in before} == {"v2"}


def test_a_late_writer_does_not_replace_a_later_state(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    key = get_model_info_key("stable", "ios")
    found = store.read_versioned(key)
    assert found is not None
    later = json.dumps({**json.loads(found.data), "sequence": 7}).encode()
    store.compare_and_set(key, later, found.tag)
    write_model_infos(store, "stable")
    assert store.read(key) == later


class MovingStore(DirectoryStore):
    """A store whose channel another machine moves while the files of models are written."""

    move: Callable[[], None] | None = None

    def list(self, prefix: str) -> Iterator[StoreEntry]:
        if prefix == "channels/stable/models/" and (move := self.move) is not None:
            self.move = None
            move()
        return super().list(prefix)


def test_a_move_while_the_files_are_written_is_followed(tmp_path: Path) -> None:
    publish(DirectoryStore(tmp_path / "cdn"), tmp_path, "v1")
    store, other = MovingStore(tmp_path / "cdn"), DirectoryStore(tmp_path / "cdn")
    old = other.read_versioned(get_model_info_key("stable", "ios"))
    assert old is not None

    def move() -> None:
        publish(other, tmp_path, "v2")
        new = other.read_versioned(get_model_info_key("stable", "ios"))
        assert new is not None
        other.compare_and_set(get_model_info_key("stable", "ios"), old.data, new.tag)

    store.move = move
    write_model_infos(store, "stable")
    assert read_info(store)["modelVersion"] == "v2"


def test_a_platform_without_an_archive_has_no_file(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    publish(store, tmp_path, "v1")
    draft = make_draft("v2")
    phone = draft.model_copy(update={"archives": draft.archives[:1]})
    packed = {"coreml": make_release_files(tmp_path, "v2")["coreml"]}
    publish_release(store, None, "stable", phone, packed, NOON + timedelta(days=1))
    assert [each.key for each in store.list("channels/stable/models/")] == [get_model_info_key("stable", "ios")]


def test_without_a_public_address_the_url_is_relative_to_the_file(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    publish(store, tmp_path, "v1", address=None)
    for platform in ("ios", "habla"):
        place = tmp_path / "cdn" / get_model_info_key("stable", platform)
        assert (place.parent / str(read_info(store, platform)["url"])).stat().st_size == read_info(store, platform)[
            "sizeBytes"
        ]


class FailingStore(DirectoryStore):
    """A store that is down from a point on."""

    is_down = False

    def read_versioned(self, key: str) -> VersionedValue | None:
        if self.is_down:
            raise LakeError("the store is down; start it")
        return super().read_versioned(key)


def test_the_cache_lives_half_a_minute_and_bridges_an_outage(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "cdn")
    publish(store, tmp_path, "v1")
    cache = ModelInfoCache(store)
    assert cache.read("stable", NOON)["ios"].modelVersion == "v1"
    publish(store, tmp_path, "v2")
    assert cache.read("stable", NOON + timedelta(seconds=29))["ios"].modelVersion == "v1"
    assert cache.read("stable", NOON + timedelta(seconds=30))["ios"].modelVersion == "v2"
    store.is_down = True
    assert cache.read("stable", NOON + timedelta(hours=1))["ios"].modelVersion == "v2"
    with pytest.raises(LakeError):
        ModelInfoCache(store).read("stable", NOON)
