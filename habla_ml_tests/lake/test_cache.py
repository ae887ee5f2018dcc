"""The cache of a remote lake: bounded, least recently used copies leave first, copies in use stay."""

import os
import time
from pathlib import Path

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake.cache import ObjectCache

HOUR_S = 3600


def _add(cache: ObjectCache, name: str, size_bytes: int, hours_ago: float = 0) -> Path:
    path = cache.add(f"objects/{name[:2]}/{name}", lambda target: target.write_bytes(b"x" * size_bytes))
    used_at = time.time() - hours_ago * HOUR_S
    os.utime(path, (used_at, used_at))
    return path


def test_the_least_recently_used_copies_leave_when_the_limit_is_exceeded(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=250)
    _add(cache, "aa", 100, hours_ago=2)
    _add(cache, "bb", 100, hours_ago=3)
    assert list(cache.list_ids()) == ["aa", "bb"]
    _add(cache, "cc", 100)
    assert list(cache.list_ids()) == ["aa", "cc"]


def test_a_part_is_made_once_and_leaves_with_its_object(tmp_path: Path) -> None:
    cache, made = ObjectCache(tmp_path, limit_bytes=250), []

    def make(target: Path) -> None:
        made.append(target.name)
        target.write_bytes(b"part")

    for part in ("wav", "wav", "mp3"):
        assert cache.make_part("ab" * 32, part, make).read_bytes() == b"part"
    assert len(made) == 2
    cache.make_part("ac" * 32, "wav", make)
    cache.drop_parts("ab" * 32)
    assert list(cache.list_ids()) == ["ac" * 32]


def test_a_copy_that_was_found_counts_as_used(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=250)
    _add(cache, "aa", 100, hours_ago=2)
    _add(cache, "bb", 100, hours_ago=3)
    assert cache.find("objects/bb/bb") == tmp_path / "objects/bb/bb"
    assert cache.find("objects/ee/ee") is None
    _add(cache, "cc", 100)
    assert list(cache.list_ids()) == ["bb", "cc"]


def test_copies_in_use_stay_above_the_limit(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=10)
    for name in ("aa", "bb"):
        _add(cache, name, 100)
    assert list(cache.list_ids()) == ["aa", "bb"]
    assert cache.evict() == 0


def test_copies_of_earlier_processes_count(tmp_path: Path) -> None:
    _add(ObjectCache(tmp_path, limit_bytes=1000), "aa", 200, hours_ago=2)
    _add(ObjectCache(tmp_path, limit_bytes=250), "bb", 100)
    assert list(ObjectCache(tmp_path, 250).list_ids()) == ["bb"]


def test_copies_of_other_processes_count_after_a_while(tmp_path: Path) -> None:
    cache, other = ObjectCache(tmp_path, limit_bytes=6400), ObjectCache(tmp_path, limit_bytes=6400)
    _add(cache, "aa", 100)
    _add(other, "bb", 6200, hours_ago=2)
    _add(cache, "cc", 1)
    assert list(cache.list_ids()) == ["aa", "bb", "cc"], "100 bytes are no 1/64 of the limit and one more"
    _add(cache, "dd", 100)
    assert list(cache.list_ids()) == ["aa", "cc", "dd"]


def test_a_derived_file_leaves_before_a_copy_in_use(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=250)
    cache.make_part("ab" * 32, "wav", lambda target: target.write_bytes(b"x" * 100))
    _add(cache, "cc", 200)
    assert list(cache.list_ids()) == ["cc"]


def test_a_cache_of_exactly_the_limit_stays(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=200)
    for name in ("aa", "bb"):
        _add(cache, name, 100, hours_ago=2)
    assert (cache.evict(), list(cache.list_ids())) == (0, ["aa", "bb"])
    assert ObjectCache(tmp_path, limit_bytes=199).evict() == 100


def test_unfinished_copies_of_killed_processes_are_removed(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=1000)
    dead, alive = _add(cache, ".dead", 50, hours_ago=2), _add(cache, ".alive", 50)
    assert cache.evict() == 50
    assert not dead.exists()
    assert alive.exists()


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        target.write_bytes(b"half")
        raise LakeError("the server is gone")

    cache = ObjectCache(tmp_path, limit_bytes=1000)
    with pytest.raises(LakeError, match="the server is gone"):
        cache.add("objects/aa/aa", fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
