"""A backup is whole, incremental, and safe against kills, writers and damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.backup.create import create_backup
from habla_ml.backup.lock import LOCK_KEY
from habla_ml.backup.manifest import list_manifests
from habla_ml.backup.restore import RestoreRequest, restore_backup
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake, Store, catalogue
from habla_ml.lake.lake import make_object_key
from habla_ml_tests.backup.conftest import MakeStore
from habla_ml_tests.testing.habla_sessions import make_workspace
from habla_ml_tests.testing.process_kill import hook_file_calls, run_until_killed
from habla_ml_tests.testing.small_lake import DAYS, SmallLake, read_lake

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def restore_into(root: Path, target: Store, name: str | None, store: Store) -> Lake:
    """Restore a backup without a register of consents."""
    lake = Lake(store, root / "restored_cache")
    restore_backup(RestoreRequest(target, name, lake, store, make_workspace(root / "settings").settings), NOW)
    return lake


@pytest.mark.long
def test_a_second_backup_copies_only_what_is_new_and_both_can_be_restored(
    small_lake: SmallLake, make_store: MakeStore, tmp_path: Path
) -> None:
    target = make_store("backups")
    first = create_backup(small_lake.request(target), NOW)
    before = read_lake(small_lake.lake)
    assert small_lake.check(deep=True).findings == ()
    assert first.manifest.is_complete
    assert first.copied == first.manifest.objects == len(before[1])
    small_lake.write_day(DAYS[0], "Buenas tardes")
    second = create_backup(small_lake.request(target), NOW + timedelta(days=1))
    assert second.copied == 1
    assert [each.name for each in list_manifests(target)] == ["2026-03-01T03-00-00Z", "2026-03-02T03-00-00Z"]
    assert read_lake(restore_into(tmp_path, target, first.manifest.name, make_store("old"))) == before
    assert read_lake(restore_into(tmp_path, target, None, make_store("new"))) == read_lake(small_lake.lake)


@pytest.mark.long
def test_the_first_backup_after_a_kill_at_any_step_is_whole(folder_lake: SmallLake, tmp_path: Path) -> None:
    step, killed = 1, True
    while killed:
        target = DirectoryStore(tmp_path / f"backups{step}")

        def work(before_step: Callable[[], None], target: Store = target) -> None:
            hook_file_calls(before_step)
            create_backup(folder_lake.request(target), NOW)

        killed = run_until_killed(work, step)
        assert all(each.is_complete for each in list_manifests(target))
        create_backup(folder_lake.request(target), NOW + timedelta(hours=1))
        restored = restore_into(tmp_path, target, None, DirectoryStore(tmp_path / f"restored{step}"))
        assert read_lake(restored) == read_lake(folder_lake.lake)
        lock = target.read_versioned(LOCK_KEY)
        assert lock is not None
        assert not json.loads(lock.data)["is_held"]
        step += 37
    assert step > 100


def test_a_pointer_that_moves_during_a_backup_is_saved_as_it_was_read(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    before = read_lake(folder_lake.lake)

    def go_on(_: str) -> None:
        folder_lake.write_day(DAYS[0], "Buenas noches")

    create_backup(folder_lake.request(target), NOW, go_on)
    assert read_lake(restore_into(tmp_path, target, None, DirectoryStore(tmp_path / "restored"))) == before


def test_an_erasure_during_a_backup_begins_it_again(folder_lake: SmallLake, target: Store) -> None:
    old = folder_lake.lake.read_pointer(catalogue.ANNOTATIONS.name(DAYS[0]))
    assert old is not None

    def erase(_: str) -> None:
        if folder_lake.write_day(DAYS[0], "(borrado)") != old.value["parquet"]:
            folder_lake.lake.delete_objects([old.value["parquet"]])
            add_tombstones(folder_lake.lake, {"one"}, ())

    report = create_backup(folder_lake.request(target, keep=1), NOW, erase)
    assert report.manifest.is_complete
    assert report.manifest.tombstones is not None
    stored = {each.key for each in target.list("objects/")}
    assert make_object_key(old.value["parquet"]) not in stored  # it may have been copied before it was erased


def test_a_backup_of_a_damaged_lake_has_the_rest_and_removes_no_old_one(folder_lake: SmallLake, target: Store) -> None:
    whole = create_backup(folder_lake.request(target), NOW)
    lost = folder_lake.write_day(DAYS[1], "Hasta mañana")
    folder_lake.store.delete(make_object_key(lost))
    (Path(folder_lake.store.url) / "pointers" / "quality").mkdir(parents=True)
    (Path(folder_lake.store.url) / "pointers" / "quality" / "hours.json").write_text("{")
    report = create_backup(folder_lake.request(target, keep=1), NOW + timedelta(days=1))
    assert len(report.manifest.faults) == 2
    assert f"annotations/{DAYS[1]}: object {lost} (parquet) is missing" in report.manifest.faults
    assert [each.name for each in list_manifests(target)] == [whole.manifest.name, report.manifest.name]


def test_old_backups_leave_with_the_objects_that_only_they_need(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    for day in range(4):
        folder_lake.write_day(DAYS[0], f"Texto {day}")
        report = create_backup(folder_lake.request(target, keep=2), NOW + timedelta(days=day))
    assert report.pruned.backups == ("2026-03-02T03-00-00Z",)
    assert report.pruned.objects == 1
    assert [each.name[:10] for each in list_manifests(target)] == ["2026-03-03", "2026-03-04"]
    for each in list_manifests(target):
        restored = restore_into(tmp_path, target, each.name, DirectoryStore(tmp_path / each.name))
        assert len(read_lake(restored)[1]) == each.objects


def test_another_running_backup_is_refused_and_a_dead_one_is_not(folder_lake: SmallLake, target: Store) -> None:
    lock = {"host": os.uname().nodename, "pid": os.getppid(), "nonce": "a", "is_held": True}
    lock["renewed_at"] = datetime.now(UTC).isoformat()
    tag = target.compare_and_set(LOCK_KEY, json.dumps(lock).encode(), None)
    with pytest.raises(LakeError, match=f"process {os.getppid()} on .* wait until it ends"):
        create_backup(folder_lake.request(target), NOW)
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    target.compare_and_set(LOCK_KEY, json.dumps({**lock, "pid": gone}).encode(), tag)
    assert create_backup(folder_lake.request(target), NOW).manifest.is_complete


def test_a_part_of_an_object_in_the_backups_is_copied_again(folder_lake: SmallLake, target: Store) -> None:
    report = create_backup(folder_lake.request(target), NOW)
    cut = next(each for each in target.list("objects/") if each.size_bytes > 100)
    path = Path(target.url) / cut.key
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:50])
    again = create_backup(folder_lake.request(target), NOW + timedelta(days=1))
    assert again.copied == 1
    assert path.stat().st_size == cut.size_bytes
    assert report.manifest.ids_sha256 == again.manifest.ids_sha256


def test_a_part_of_an_object_in_the_lake_never_replaces_the_whole_one_in_the_backups(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    whole = create_backup(folder_lake.request(target), NOW)
    before = read_lake(folder_lake.lake)
    for cut in [each for each in folder_lake.store.list("objects/") if each.size_bytes > 200]:
        path = Path(folder_lake.store.url) / cut.key
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:50])
    damaged = create_backup(folder_lake.request(target, keep=1), NOW + timedelta(days=1))
    assert not damaged.manifest.is_complete
    restored = restore_into(tmp_path, target, whole.manifest.name, DirectoryStore(tmp_path / "restored"))
    assert read_lake(restored) == before


def test_a_backup_is_refused_while_another_has_a_later_time(folder_lake: SmallLake, target: Store) -> None:
    later = create_backup(folder_lake.request(target), NOW + timedelta(days=3_650)).manifest
    add_tombstones(folder_lake.lake, {"other"}, ())
    with pytest.raises(
        LakeError, match=f"has the backup {later.name}, and the clock says 2026-03-01T03-00-00Z; set the"
    ):
        create_backup(folder_lake.request(target, drop_before_erasure=True), NOW)
    assert [each.name for each in list_manifests(target)] == [later.name]


def test_a_backup_inside_the_lake_is_refused(folder_lake: SmallLake) -> None:
    inside = DirectoryStore(Path(folder_lake.store.url) / "backups")
    with pytest.raises(LakeError, match="overlap; choose another folder"):
        create_backup(folder_lake.request(inside), NOW)
