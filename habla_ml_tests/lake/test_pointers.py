"""Snapshots of pointers: always the present state, and no read of a pointer that has not moved."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import DirectoryStore, Lake, S3Store, Store, catalogue, open_lake
from habla_ml.lake.pointers import Pointer, PointerCache
from habla_ml.lake.store import VersionedValue
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.s3_clients import BUCKET, count_requests, new_client

DAYS = [f"2026-01-{number:02d}" for number in range(1, 13)]


@pytest.fixture
def lake(store: Store, tmp_path: Path) -> Lake:
    """A lake with one pointer for each of `DAYS`."""
    opened = Lake(store, tmp_path / "cache")
    for day in DAYS:
        opened.move_pointer(f"corpus/{day}", {"day": day}, None)
    return opened


def test_a_snapshot_holds_the_pointers_of_its_prefix(lake: Lake) -> None:
    lake.move_pointer("corpusx/2026-01-01", {"day": "of another family"}, None)
    snapshot = lake.read_pointers("corpus/")
    assert [each.value["day"] for each in snapshot.list_pointers()] == DAYS
    assert snapshot.read_pointer("corpus/2026-01-03") == lake.read_pointer("corpus/2026-01-03")
    assert snapshot.read_pointer("corpus/2030-01-01") is None


def test_a_snapshot_refuses_a_name_that_it_does_not_cover(lake: Lake) -> None:
    snapshot = lake.read_pointers("corpus/", {"corpus/2026-01-01"})
    assert [each.value["day"] for each in snapshot.list_pointers()] == DAYS[:1]
    for name in ("corpus/2026-01-02", "recordings/2026-01-01"):
        with pytest.raises(ValueError, match="does not cover"):
            snapshot.read_pointer(name)


def test_a_snapshot_shows_what_another_process_moved_added_or_deleted(
    lake: Lake, new_store: Callable[[], Store], tmp_path: Path
) -> None:
    lake.read_pointers("corpus/")
    other = Lake(new_store(), tmp_path / "other-cache")
    other.move_pointer("corpus/2026-01-01", {"day": "moved"}, other.read_pointer("corpus/2026-01-01"))
    other.move_pointer("corpus/2026-02-01", {"day": "2026-02-01"}, None)
    other.delete_pointer("corpus/2026-01-02")
    shown = [each.value["day"] for each in lake.read_pointers("corpus/").list_pointers()]
    assert shown == ["moved", *DAYS[2:], "2026-02-01"]
    other.move_pointer("corpus/2026-01-02", {"day": "back"}, None)
    assert [each.value["day"] for each in lake.read_pointers("corpus/").list_pointers()][1] == "back"


def test_values_that_alternate_quickly_are_never_confused(store: Store, tmp_path: Path) -> None:
    """The values have one size, and a file system can reuse the number of a replaced file."""
    lake = Lake(store, tmp_path / "cache")
    seen = lake.move_pointer("corpus/2026-01-01", {"at": 0}, None)
    for number in range(60):
        seen = lake.move_pointer(seen.name, {"at": number % 3}, seen)
        assert lake.read_pointers("corpus/").list_pointers() == [seen]


def test_a_pointer_of_a_snapshot_that_moved_since_cannot_be_replaced(lake: Lake) -> None:
    seen = lake.read_pointers("corpus/").read_pointer("corpus/2026-01-01")
    lake.move_pointer("corpus/2026-01-01", {"day": "moved"}, seen)
    with pytest.raises(PointerMovedError):
        lake.move_pointer("corpus/2026-01-01", {"day": "mine"}, seen)


def test_a_damaged_pointer_does_not_hide_the_others(lake: Lake, store: Store) -> None:
    key = "pointers/corpus/2026-01-03.json"
    damaged = store.read_versioned(key)
    assert damaged is not None
    store.compare_and_set(key, b'{"day": "2026', damaged.tag)
    for _ in range(2):
        snapshot = lake.read_pointers("corpus/")
        with pytest.raises(LakeError, match=r"corpus/2026-01-03 in .* is not a JSON object"):
            snapshot.read_pointer("corpus/2026-01-03")
        rest = [day for day in DAYS if day != "2026-01-03" and snapshot.read_pointer(f"corpus/{day}")]
        assert rest == [day for day in DAYS if day != "2026-01-03"]


def test_a_family_with_a_suffix_reads_its_own_pointers_only(store: Store, tmp_path: Path) -> None:
    lake = Lake(store, tmp_path / "cache")
    for name in ("models/v1/plan", "models/v1/report", "models/v2/plan", "modelsx/v3/plan"):
        lake.move_pointer(name, {"name": name}, None)
    assert [each.name for each in catalogue.PLAN.read(lake).list_pointers()] == ["models/v1/plan", "models/v2/plan"]
    assert [each.name for each in catalogue.PLAN.read(lake, ["v2"]).list_pointers()] == ["models/v2/plan"]


@pytest.mark.long
@pytest.mark.parametrize("days", [50, 100])
def test_a_snapshot_on_s3_costs_one_listing_and_the_pointers_that_moved(
    s3_endpoint: str, tmp_path: Path, days: int
) -> None:
    settings = StoreSettings(url=f"s3://{BUCKET}/{uuid.uuid4().hex}")
    writer = open_lake(settings, tmp_path / "cache", new_client(s3_endpoint))
    for number in range(days):
        writer.move_pointer(f"corpus/{number:03d}", {"at": 0}, None)
    client = new_client(s3_endpoint)
    requests = count_requests(client)

    def read() -> dict[str, int]:
        """Open the lake as a tick does, take a snapshot, and return the requests."""
        requests.clear()
        assert len(open_lake(settings, tmp_path / "cache", client).read_pointers("corpus/").list_pointers()) == days
        return dict(requests)

    assert read() == {"ListObjectsV2": 1, "GetObject": days}
    assert read() == {"ListObjectsV2": 1}
    writer.move_pointer("corpus/007", {"at": 1}, writer.read_pointer("corpus/007"))
    assert read() == {"ListObjectsV2": 1, "GetObject": 1}
    assert read() == {"ListObjectsV2": 1}


def test_a_snapshot_of_a_folder_opens_only_settled_files_that_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path / "store")
    lake = Lake(store, tmp_path / "cache")
    for day in DAYS:
        lake.move_pointer(f"corpus/{day}", {"day": day}, None)
    assert {each.version for each in store.list("")} == {""}  # a later value could get the same numbers
    time.sleep(1.1)
    lake.read_pointers("corpus/")
    seen: list[str] = []
    read = store.read_versioned

    def watched(key: str) -> VersionedValue | None:
        seen.append(key)
        return read(key)

    monkeypatch.setattr(store, "read_versioned", watched)
    lake.read_pointers("corpus/")
    assert seen == []
    edited = tmp_path / "store/pointers/corpus/2026-01-02.json"
    times = (edited.stat().st_atime_ns, edited.stat().st_mtime_ns)
    edited.chmod(0o644)
    edited.write_text('{"day":"2026-01-99"}')
    os.utime(edited, ns=times)
    assert lake.read_pointers("corpus/").list_pointers()[1].value == {"day": "2026-01-99"}
    assert seen == ["pointers/corpus/2026-01-02.json"]


def test_a_full_cache_reads_the_rest_each_time(lake: Lake, new_store: Callable[[], Store], tmp_path: Path) -> None:
    cache = PointerCache(limit_bytes=50)
    other = Lake(new_store(), tmp_path / "cache", pointer_cache=cache)
    for _ in range(2):
        assert len(other.read_pointers("corpus/").list_pointers()) == len(DAYS)
        assert cache.size_bytes <= 50
    for day in DAYS:
        other.delete_pointer(f"corpus/{day}")
    assert other.read_pointers("corpus/").list_pointers() == []
    assert cache.size_bytes == 0


def test_the_cache_holds_pointers_up_to_its_limit_and_no_state_without_a_version() -> None:
    cache, one, two = PointerCache(100), Pointer("a", {}, "t"), Pointer("b", {}, "t")
    cache.add(one, "v1", 60)
    cache.add(two, "v1", 40)
    assert (cache.find("a", "v1"), cache.find("b", "v1"), cache.size_bytes) == (one, two, 100)
    cache.add(one, "v2", 61)
    assert (cache.find("a", "v1"), cache.find("a", "v2"), cache.size_bytes) == (None, None, 40)
    cache.add(one, "", 10)
    assert (cache.find("a", ""), cache.size_bytes, cache.list_names("")) == (None, 40, {"b"})


def test_a_listing_in_pages_is_one_snapshot(s3_endpoint: str, tmp_path: Path) -> None:
    store = S3Store(new_client(s3_endpoint), "three-a-page", uuid.uuid4().hex)
    lake = Lake(store, tmp_path / "cache")
    for day in DAYS:
        lake.move_pointer(f"corpus/{day}", {"day": day}, None)
    assert [each.value["day"] for each in lake.read_pointers("corpus/").list_pointers()] == DAYS
