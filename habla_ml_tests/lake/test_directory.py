"""The directory store: kills, full disks, unwritable folders, foreign files, and the cost of a listing."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import DirectoryStore
from habla_ml_tests.lake.conftest import SMALL_DISK_BYTES
from habla_ml_tests.testing.process_kill import hook_file_calls, run_until_killed

OTHER_DEVICE = Path("/dev/shm")  # noqa: S108
VALUE = hashlib.shake_128(b"value").digest(3 << 20)


def list_files_below(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def _race_in_process(root: Path, key: str, writer: int, barrier: threading.Barrier, wins: Path) -> None:
    store = DirectoryStore(root)
    for number in range(20):
        barrier.wait()
        if store.put_if_absent(f"{key}/{number}", b"%d" % writer):
            (wins / f"put-{number}-{writer}").touch()
        seen = store.read_versioned("pointer")
        barrier.wait()
        try:
            store.compare_and_set("pointer", b"%d/%d" % (number, writer), seen.tag if seen else None)
            (wins / f"move-{number}-{writer}").touch()
        except PointerMovedError:
            pass


@pytest.mark.long
def test_exactly_one_of_eight_processes_wins_each_race(tmp_path: Path) -> None:
    wins = tmp_path / "wins"
    wins.mkdir()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    writers = [
        context.Process(target=_race_in_process, args=(tmp_path / "store", "races", writer, barrier, wins))
        for writer in range(8)
    ]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
        assert each.exitcode == 0
    winners = [each.name.rpartition("-") for each in wins.iterdir()]
    assert sorted(race for race, _, _ in winners) == sorted(
        f"{kind}-{number}" for kind in ("put", "move") for number in range(20)
    )
    store = DirectoryStore(tmp_path / "store")
    assert {f"put-{n}": store.read(f"races/{n}").decode() for n in range(20)} == {
        race: writer for race, _, writer in winners if race.startswith("put")
    }


def test_a_move_waits_for_a_concurrent_move_and_then_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = DirectoryStore(tmp_path / "store").compare_and_set("p.json", b"0", None)
    replacing, go_on, replace = threading.Event(), threading.Event(), os.replace

    def slowly(source: Path, target: Path) -> None:
        if not replacing.is_set():
            replacing.set()
            assert go_on.wait(20)
        replace(source, target)

    monkeypatch.setattr(os, "replace", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(DirectoryStore(tmp_path / "store").compare_and_set, "p.json", b"1", tag)
        assert replacing.wait(20)
        second = pool.submit(DirectoryStore(tmp_path / "store").compare_and_set, "p.json", b"2", tag)
        assert wait([second], timeout=0.5).not_done
        go_on.set()
        first.result()
        with pytest.raises(PointerMovedError):
            second.result()
    assert DirectoryStore(tmp_path / "store").read("p.json") == b"1"


@pytest.mark.long
@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_put_killed_at_any_step_leaves_nothing_or_the_whole_value(tmp_path: Path, is_adopted: bool) -> None:
    source = tmp_path / "source"
    source.write_bytes(VALUE)
    step, states = 1, set()

    def work(before_step: Callable[[], None]) -> None:
        hook_file_calls(before_step)
        store = DirectoryStore(tmp_path / f"store{step}")
        if is_adopted:
            store.adopt_if_absent("objects/aa/value", source, hashlib.sha256(VALUE).hexdigest())
        else:
            store.put_if_absent("objects/aa/value", source)

    while run_until_killed(work, step):
        store = DirectoryStore(tmp_path / f"store{step}")
        listed = list(store.list(""))
        assert [(each.key, each.size_bytes) for each in listed] in ([], [("objects/aa/value", len(VALUE))])
        assert list_files_below(tmp_path / f"store{step}" / ".unfinished") == []
        assert store.put_if_absent("objects/aa/value", source) is (listed == [])
        assert store.read("objects/aa/value") == VALUE
        states.add(len(listed))
        step += 1
    assert step > 8
    assert states == {0, 1}
    assert DirectoryStore(tmp_path / f"store{step}").read("objects/aa/value") == VALUE


@pytest.mark.long
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_move_killed_at_any_step_leaves_the_old_or_the_new_pointer(tmp_path: Path, before: bytes | None) -> None:
    step, states = 1, set()

    def work(before_step: Callable[[], None]) -> None:
        hook_file_calls(before_step)
        seen = store.read_versioned("p.json")
        store.compare_and_set("p.json", b"new", seen.tag if seen else None)

    while True:
        store = DirectoryStore(tmp_path / f"store{step}")
        if before is not None:
            store.compare_and_set("p.json", before, None)
        if not run_until_killed(work, step):
            break
        store = DirectoryStore(tmp_path / f"store{step}")
        seen = store.read_versioned("p.json")
        found = seen.data if seen else None
        assert found in {before, b"new"}
        store.compare_and_set("p.json", b"again", seen.tag if seen else None)
        assert list_files_below(tmp_path / f"store{step}" / ".unfinished") == []
        states.add(found)
        step += 1
    assert states == {before, b"new"}
    assert store.read("p.json") == b"new"


def test_the_next_opening_removes_the_leftover_of_a_killed_copy(tmp_path: Path) -> None:
    pipe, root = tmp_path / "pipe", tmp_path / "store"
    os.mkfifo(pipe)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: DirectoryStore(root).put_if_absent("value", pipe)
    )
    child.start()
    with pipe.open("wb") as sender:
        sender.write(VALUE)
        sender.flush()
        until = time.monotonic() + 20
        while sum(each.stat().st_size for each in (root / ".unfinished").glob("*")) < 2 << 20:
            assert time.monotonic() < until
            time.sleep(0.01)
        [half] = list_files_below(root / ".unfinished")
        assert list(DirectoryStore(root).list("")) == []
        assert list_files_below(root / ".unfinished") == [half], "the file of a running writer was removed"
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    assert list_files_below(root / ".unfinished") == [half]
    assert list(DirectoryStore(root).list("")) == []
    assert list_files_below(root / ".unfinished") == []
    assert DirectoryStore(root).put_if_absent("value", VALUE) is True


def test_a_full_disk_is_an_error_that_leaves_no_files(small_disk: Path, tmp_path: Path) -> None:
    store = DirectoryStore(small_disk / "store")
    tag = store.compare_and_set("p.json", b"small", None)
    large = tmp_path / "large"
    with large.open("wb") as handle:
        for _ in range(3):
            handle.write(b"x" * (SMALL_DISK_BYTES // 2))
    os.truncate(large, SMALL_DISK_BYTES // 2 * 3)
    for source in (large, b"x" * (SMALL_DISK_BYTES * 2)):
        with pytest.raises(LakeError, match=r"objects/large.*nothing was published; free some space"):
            store.put_if_absent("objects/large", source)
    with pytest.raises(LakeError, match="free some space"):
        store.compare_and_set("p.json", b"x" * (SMALL_DISK_BYTES * 2), tag)
    data = b"x" * (SMALL_DISK_BYTES * 2)
    with pytest.raises(LakeError, match="free some space"):
        store.put_new("objects/new", data, hashlib.sha256(data).hexdigest())
    assert [each.key for each in store.list("")] == ["p.json"]
    assert list_files_below(small_disk / "store" / ".unfinished") == []
    assert store.read("p.json") == b"small"
    assert store.put_if_absent("objects/small", b"x" * 1000) is True


@pytest.mark.parametrize("place", ["file", "proc"])
def test_opening_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "store" if place == "file" else Path("/proc/self/habla")
    with pytest.raises(LakeError, match=r"cannot be written .*choose another folder in the settings"):
        DirectoryStore(root)


def test_a_write_to_a_deleted_store_is_an_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store" / ".unfinished").rmdir()
    with pytest.raises(LakeError, match=r"cannot write a/key.*No such file"):
        store.put_if_absent("a/key", b"x")


def test_a_folder_with_the_name_of_a_value_is_an_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put_if_absent("a/b/c", b"x")
    with pytest.raises(LakeError, match=r"a/b is a folder"):
        store.put_if_absent("a/b", b"y")
    with pytest.raises(LakeError, match="cannot write a/b/c/d"):
        store.put_if_absent("a/b/c/d", b"y")


def test_a_published_value_is_read_only(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put_if_absent("a/key", b"x")
    assert stat.S_IMODE((tmp_path / "store/a/key").stat().st_mode) & 0o333 == 0


def test_an_adopted_file_is_linked_or_copied_from_another_device(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    near = tmp_path / "near"
    near.write_bytes(b"uno")
    assert store.adopt_if_absent("near", near, hashlib.sha256(b"uno").hexdigest())
    assert near.stat().st_ino == (tmp_path / "store" / "near").stat().st_ino
    assert near.stat().st_mode & 0o222 == 0
    with tempfile.TemporaryDirectory(dir=OTHER_DEVICE if OTHER_DEVICE.is_dir() else tmp_path) as folder:
        far = Path(folder) / "far"
        far.write_bytes(b"dos")
        assert store.adopt_if_absent("far", far, hashlib.sha256(b"dos").hexdigest())
        if OTHER_DEVICE.is_dir():
            with pytest.raises(LakeError, match="it changed while it was read"):
                store.adopt_if_absent("changed", far, hashlib.sha256(b"tres").hexdigest())
    assert store.read("far") == b"dos"


def test_a_listing_skips_hidden_files_and_deleted_folders(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for number in range(3):
        store.put_if_absent(f"a/{number}/x", b"")
    (tmp_path / "store/a/.DS_Store").touch()
    (tmp_path / "store/a/link").symlink_to(tmp_path / "nowhere")
    listing = store.list("a/")
    assert next(listing).key == "a/0/x"
    (tmp_path / "store/a/1/x").unlink()
    (tmp_path / "store/a/1").rmdir()
    assert [each.key for each in listing] == ["a/2/x"]


def test_a_listing_reads_only_folders_below_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path / "store")
    for model in range(20):
        for kind in range(5):
            store.put_if_absent(f"pointers/models/v{model}/{kind}.json", b"{}")
    read: list[str] = []
    scandir = os.scandir

    def counted(path: Path) -> object:
        read.append(str(Path(path).relative_to(tmp_path / "store")))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    assert len(list(store.list("pointers/models/v7/"))) == 5
    assert read == ["pointers/models/v7"]
    read.clear()
    assert len(list(store.list("pointers/models/v1"))) == 11 * 5
    assert len(read) == 1 + 11


def test_two_stores_of_one_folder_share_their_values(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "a" / ".." / "store").put_if_absent("key", b"x")
    assert DirectoryStore(tmp_path / "store").read("key") == b"x"
