"""The guarantees of every store, on a folder and on an S3 server."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.errors import LakeError, ObjectMissingError, PointerMovedError
from habla_ml.lake import DirectoryStore, Store

WRITERS = 8
RACES = 20
SEVERAL_PARTS_BYTES = (12 << 20) + 7


def test_a_stored_value_can_be_read(store: Store) -> None:
    assert store.put_if_absent("objects/ab/one", b"uno") is True
    assert store.read("objects/ab/one") == b"uno"


def test_a_value_under_a_new_key_is_whole_and_read_only_from_then_on(store: Store) -> None:
    for key in ("clips/a/1", "clips/a/2", "other"):
        store.put_new(key, key.encode(), hashlib.sha256(key.encode()).hexdigest())
        assert store.read(key) == key.encode()
        assert store.put_if_absent(key, b"another") is False
    if isinstance(store, DirectoryStore):
        assert store.local_path("clips/a/1").stat().st_mode & 0o777 & ~0o444 == 0
        for taken in ("clips", "other"):
            with pytest.raises(LakeError, match=f"cannot write {taken} to"):
                store.put_new(taken, b"new", hashlib.sha256(b"new").hexdigest())
        assert store.read("other") == b"other"


def test_a_second_put_changes_nothing(store: Store) -> None:
    store.put_if_absent("a/key", b"first")
    assert store.put_if_absent("a/key", b"second") is False
    assert store.read("a/key") == b"first"


def test_an_empty_value_is_a_value(store: Store) -> None:
    assert store.put_if_absent("empty", b"") is True
    assert store.read("empty") == b""
    assert store.put_if_absent("empty", b"x") is False


@pytest.mark.parametrize("size_bytes", [0, 1, 5 << 20, SEVERAL_PARTS_BYTES])
def test_a_file_of_any_size_is_fetched_unchanged(store: Store, tmp_path: Path, size_bytes: int) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(hashlib.shake_128(b"seed").digest(size_bytes))
    assert store.put_if_absent("files/large", source) is True
    assert store.put_if_absent("files/large", source) is False
    store.fetch("files/large", back)
    assert back.read_bytes() == source.read_bytes()
    assert [(each.key, each.size_bytes) for each in store.list("files/")] == [("files/large", size_bytes)]


@pytest.mark.parametrize("size_bytes", [3, SEVERAL_PARTS_BYTES])
def test_bytes_of_another_sha256_are_refused_and_not_stored(store: Store, tmp_path: Path, size_bytes: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * size_bytes)
    with pytest.raises(LakeError, match="changed while it was read"):
        store.put_if_absent("a/key", source, sha256=hashlib.sha256(b"other").hexdigest())
    assert list(store.list("")) == []
    assert store.put_if_absent("a/key", source, sha256=hashlib.sha256(source.read_bytes()).hexdigest()) is True


def test_an_adopted_file_is_stored_once_and_stays_when_its_first_name_is_removed(store: Store, tmp_path: Path) -> None:
    for name in ("first", "second"):
        source = tmp_path / name
        source.write_bytes(b"uno")
        assert store.adopt_if_absent("a/key", source, hashlib.sha256(b"uno").hexdigest()) is (name == "first")
        source.unlink()
        assert store.read("a/key") == b"uno"
    assert [each.key for each in store.list("")] == ["a/key"]


def test_a_missing_source_is_an_error_and_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"no_such_file.*No such file.*nothing was published"):
        store.put_if_absent("a/key", tmp_path / "no_such_file")
    assert list(store.list("")) == []


def test_a_missing_value_is_none_or_an_error(store: Store, tmp_path: Path) -> None:
    store.put_if_absent("a/key", b"x")
    assert store.read_versioned("no/such") is None
    assert store.read_versioned("a/key/below") is None
    assert store.read_versioned("a") is None
    with pytest.raises(ObjectMissingError, match="no/such is not in the store"):
        store.read("no/such")
    with pytest.raises(ObjectMissingError, match="no/such is not in the store"):
        store.fetch("no/such", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_destination_that_cannot_be_written_is_an_error(store: Store, tmp_path: Path) -> None:
    store.put_if_absent("a/key", b"x")
    with pytest.raises(LakeError, match="no_folder"):
        store.fetch("a/key", tmp_path / "no_folder" / "back")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".unfinished/x",
        "a/.b",
        "a b",
        "añ",
        "a\n",
        "x" * 201,
        "a/" * 460 + "a",
    ],
)
def test_an_ambiguous_key_is_refused(store: Store, key: str) -> None:
    for use in (lambda: store.put_if_absent(key, b"x"), lambda: store.read(key), lambda: store.local_path(key)):
        with pytest.raises(LakeError, match="is not a relative path"):
            use()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", ".unfinished", "a b"])
def test_a_listing_cannot_leave_the_store(store: Store, prefix: str) -> None:
    with pytest.raises(LakeError, match="is not the start of a store key"):
        list(store.list(prefix))


def test_a_listing_has_the_keys_of_a_prefix_in_order(store: Store) -> None:
    keys = ["a/b", "a.b", "a-b", "a/b.c", "a/bc/d", "a/bd/e", "ab", "b/a", "models/v1/x", "models/v10/x"]
    for key in keys:
        store.put_if_absent(key, b"123")
    assert [each.key for each in store.list("")] == sorted(keys)
    assert [each.key for each in store.list("a/b")] == ["a/b", "a/b.c", "a/bc/d", "a/bd/e"]
    assert [each.key for each in store.list("models/v1")] == ["models/v1/x", "models/v10/x"]
    assert [each.key for each in store.list("models/v1/")] == ["models/v1/x"]
    assert list(store.list("none/at/all")) == []
    assert [(each.key, each.size_bytes) for each in store.list("b/a")] == [("b/a", 3)]


def test_a_pointer_moves_only_from_its_present_state(store: Store) -> None:
    first = store.compare_and_set("p.json", b"1", None)
    with pytest.raises(PointerMovedError, match=r"p\.json.*moved by another process"):
        store.compare_and_set("p.json", b"2", None)
    second = store.compare_and_set("p.json", b"2", first)
    with pytest.raises(PointerMovedError):
        store.compare_and_set("p.json", b"3", first)
    seen = store.read_versioned("p.json")
    assert seen is not None
    assert (seen.data, seen.tag) == (b"2", second)


def test_a_missing_pointer_cannot_be_moved(store: Store) -> None:
    tag = store.compare_and_set("p.json", b"1", None)
    with pytest.raises(PointerMovedError):
        store.compare_and_set("q.json", b"2", tag)
    assert store.read_versioned("q.json") is None


def test_a_first_move_does_not_replace_an_existing_value(store: Store) -> None:
    store.put_if_absent("p.json", b"1")
    with pytest.raises(PointerMovedError):
        store.compare_and_set("p.json", b"2", None)
    assert store.read("p.json") == b"1"


@pytest.fixture
def writers(new_store: Callable[[], Store]) -> list[Store]:
    """Eight writers of one store with separate connections."""
    return [new_store() for _ in range(WRITERS)]


def count_winners(writers: list[Store], attempt: Callable[[Store, int], bool]) -> int:
    """Return how many of the writers succeed if they start together."""
    barrier = threading.Barrier(len(writers))

    def run(number: int) -> bool:
        barrier.wait()
        return attempt(writers[number], number)

    with ThreadPoolExecutor(len(writers)) as pool:
        return sum(pool.map(run, range(len(writers))))


@pytest.mark.long
def test_exactly_one_of_eight_writers_stores_the_value(writers: list[Store]) -> None:
    for key in [f"races/{number}" for number in range(RACES)]:

        def attempt(store: Store, writer: int, key: str = key) -> bool:
            return store.put_if_absent(key, b"%d" % writer)

        assert count_winners(writers, attempt) == 1


@pytest.mark.long
def test_exactly_one_of_eight_writers_moves_the_pointer(writers: list[Store]) -> None:
    tag = writers[0].compare_and_set("p.json", b"start", None)
    for number in range(RACES):

        def attempt(store: Store, writer: int, value: bytes = b"%d/" % number, seen: str = tag) -> bool:
            try:
                store.compare_and_set("p.json", value + b"%d" % writer, seen)
            except PointerMovedError:
                return False
            return True

        assert count_winners(writers, attempt) == 1
        present = writers[0].read_versioned("p.json")
        assert present is not None
        assert present.data.startswith(b"%d/" % number)
        tag = present.tag


def test_no_increment_is_lost_between_writers(writers: list[Store]) -> None:
    writers[0].compare_and_set("count", b"0", None)

    def attempt(store: Store, writer: int) -> bool:
        while True:
            seen = store.read_versioned("count")
            assert seen is not None
            try:
                store.compare_and_set("count", b"%d" % (int(seen.data) + 1), seen.tag)
            except PointerMovedError:
                continue
            return True

    count_winners(writers, attempt)
    assert writers[0].read("count") == b"%d" % WRITERS


def test_a_value_can_be_deleted_once(store: Store) -> None:
    store.put_if_absent("a/key", b"x")
    store.put_if_absent("a/other", b"y")
    assert store.delete("a/key") is True
    assert store.delete("a/key") is False
    assert store.delete("a/never/there") is False
    assert [each.key for each in store.list("")] == ["a/other"]
    assert store.put_if_absent("a/key", b"again") is True
    assert store.read("a/key") == b"again"


def test_a_listing_has_the_time_of_the_last_modification(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 counts whole seconds
    store.put_if_absent("a/key", b"x")
    (listed,) = store.list("")
    assert before <= listed.modified_at <= datetime.now(UTC)


def test_a_value_that_was_modified_since_is_not_deleted(store: Store) -> None:
    store.put_if_absent("a/key", b"x")
    assert store.delete("a/key", datetime.now(UTC) - timedelta(minutes=1)) is False
    assert store.read("a/key") == b"x"
    assert store.delete("a/key", datetime.now(UTC) + timedelta(minutes=1)) is True
    assert store.delete("a/key", datetime.now(UTC)) is False


@pytest.mark.parametrize("size_bytes", [1, 11 << 20])
def test_an_old_value_that_is_put_again_is_renewed(
    store: Store, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    for module in ("directory", "s3"):
        monkeypatch.setattr(f"habla_ml.lake.{module}.RENEWED_AFTER", timedelta(0))
    value = b"x" * size_bytes
    store.put_if_absent("objects/key", value)
    time.sleep(1.1)
    (first,) = store.list("")
    assert store.put_if_absent("objects/key", value) is False
    (again,) = store.list("")
    assert again.modified_at > first.modified_at
    assert store.read("objects/key") == value
    assert store.delete("objects/key", again.modified_at) is False


def test_a_young_value_that_is_put_again_is_left_alone(store: Store) -> None:
    store.put_if_absent("objects/key", b"x")
    (first,) = store.list("")
    store.put_if_absent("objects/key", b"x")
    assert [each.modified_at for each in store.list("")] == [first.modified_at]


def test_eight_writers_can_delete_a_value_at_once(writers: list[Store]) -> None:
    writers[0].put_if_absent("a/key", b"x")
    assert count_winners(writers, lambda store, _: store.delete("a/key")) >= 1
    assert writers[0].read_versioned("a/key") is None


def test_a_deleted_pointer_can_only_be_created_again(store: Store) -> None:
    tag = store.compare_and_set("p.json", b"1", None)
    assert store.delete("p.json") is True
    with pytest.raises(PointerMovedError):
        store.compare_and_set("p.json", b"2", tag)
    store.compare_and_set("p.json", b"2", None)
    assert store.read("p.json") == b"2"


@pytest.mark.parametrize(("length", "expected"), [(0, b""), (3, b"hol"), (100, b"hola")])
def test_the_start_of_a_value_can_be_read(store: Store, length: int, expected: bytes) -> None:
    store.put_if_absent("a/key", b"hola")
    store.put_if_absent("a/empty", b"")
    assert store.read_range("a/key", 0, length) == expected
    assert store.read_range("a/empty", 0, length) == b""
    with pytest.raises(ObjectMissingError, match="no/such is not in the store"):
        store.read_range("no/such", 0, 4)


def test_ranges_of_a_value_can_be_read(store: Store) -> None:
    store.put_if_absent("a/key", b"hola")
    assert store.read_size_bytes("a/key") == 4
    assert store.read_range("a/key", 1, 2) == b"ol"
    assert store.read_range("a/key", 3, 100) == b"a"
    assert store.read_range("a/key", 4, 1) == b""
    with pytest.raises(ObjectMissingError, match="no/such is not in the store"):
        store.read_size_bytes("no/such")
