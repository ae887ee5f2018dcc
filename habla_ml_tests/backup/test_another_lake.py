"""No backup of an empty, foreign or half-restored lake, and none without a day, removes what only an earlier one has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.backup.create import create_backup
from habla_ml.backup.manifest import list_manifest_keys, list_manifests, list_readable_manifests
from habla_ml.backup.restore import RestoreReport, RestoreRequest, restore_backup
from habla_ml.consent.tombstones import add_tombstones, mark_applied
from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake, Store, catalogue
from habla_ml_tests.testing.habla_sessions import make_workspace
from habla_ml_tests.testing.small_lake import DAYS, SmallLake, read_lake

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
NIGHT = timedelta(days=1)


def unmount(small: SmallLake, tmp_path: Path) -> SmallLake:
    """Return the lake as a process finds it whose disk is not mounted: an empty folder."""
    store = DirectoryStore(tmp_path / "empty")
    return SmallLake(Lake(store, tmp_path / "empty_cache"), store, small.work_folder)


def restore(target: Store, name: str | None, tmp_path: Path) -> tuple[Lake, RestoreReport]:
    store = DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "restored_cache")
    settings = make_workspace(tmp_path / "settings").settings
    return lake, restore_backup(RestoreRequest(target, name, lake, store, settings), NOW + 9 * NIGHT)


@pytest.mark.parametrize("drop_before_erasure", [False, True])
def test_an_empty_lake_in_place_of_the_saved_one_is_refused(
    folder_lake: SmallLake, target: Store, tmp_path: Path, drop_before_erasure: bool
) -> None:
    mark_applied(folder_lake.lake, add_tombstones(folder_lake.lake, {"another"}, ()))
    saved = create_backup(folder_lake.request(target), NOW).manifest
    request = unmount(folder_lake, tmp_path).request(target, 1, drop_before_erasure=drop_before_erasure)
    with pytest.raises(
        LakeError, match=f"has none of the 4 days and models in the backup {saved.name}; mount its disk"
    ):
        create_backup(request, NOW + NIGHT)
    assert list_manifests(target) == [saved]
    restored = read_lake(restore(target, None, tmp_path)[0])[0]
    assert read_lake(folder_lake.lake)[0].items() <= restored.items()


def test_a_new_deployment_without_a_day_is_saved(folder_lake: SmallLake, target: Store, tmp_path: Path) -> None:
    empty = unmount(folder_lake, tmp_path)
    for night in range(2):
        assert create_backup(empty.request(target), NOW + night * NIGHT).manifest.pointers == {}


@pytest.mark.parametrize("drop_before_erasure", [False, True])
def test_a_backup_with_a_day_that_the_lake_lost_stays(
    folder_lake: SmallLake, target: Store, tmp_path: Path, drop_before_erasure: bool
) -> None:
    saved = create_backup(folder_lake.request(target), NOW)
    assert saved.irreplaceable == ()
    before = read_lake(folder_lake.lake)
    folder_lake.lake.delete_pointer(catalogue.ANNOTATIONS.name(DAYS[0]))
    add_tombstones(folder_lake.lake, {"another"}, ())
    for night in (1, 2):
        request = folder_lake.request(target, 1, drop_before_erasure=drop_before_erasure)
        report = create_backup(request, NOW + night * NIGHT)
        assert report.irreplaceable == (saved.manifest.name,)
        assert saved.manifest.name in report.before_erasure
    assert [each.name[:10] for each in list_manifests(target)] == ["2026-03-01", "2026-03-03"]
    lake, _ = restore(target, saved.manifest.name, tmp_path)
    name = catalogue.ANNOTATIONS.name(DAYS[0])
    assert dict(lake.read_pointer(name).value) == before[0][name]  # type: ignore[union-attr]


def test_a_lake_whose_restore_has_not_ended_is_not_saved(folder_lake: SmallLake, target: Store) -> None:
    saved = create_backup(folder_lake.request(target), NOW).manifest
    folder_lake.lake.move_pointer(catalogue.UNFINISHED_RESTORE, {"backup": saved.name, "from": target.url}, None)
    with pytest.raises(LakeError, match="has an unfinished restore; run `habla-ml restore` again"):
        create_backup(folder_lake.request(target, 1), NOW + NIGHT)
    assert list_manifests(target) == [saved]


def test_a_damaged_manifest_stops_no_other_backup_and_no_restore_and_removes_nothing(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    names = [create_backup(folder_lake.request(target), NOW + night * NIGHT).manifest.name for night in range(2)]
    before = read_lake(folder_lake.lake)
    damaged = Path(target.url) / list_manifest_keys(target)[names[1]]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    report = create_backup(folder_lake.request(target, 1), NOW + 2 * NIGHT)
    assert (report.pruned.backups, len(report.unreadable)) == ((), 1)
    assert f"{names[1]}/manifest-" in report.unreadable[0]
    readable, faults = list_readable_manifests(target)
    assert ([each.name for each in readable], len(faults)) == ([names[0], report.manifest.name], 1)
    with pytest.raises(LakeError, match="is damaged: its bytes have another sha256; use another backup"):
        restore(target, names[1], tmp_path)
    lake, restored = restore(target, names[0], tmp_path)
    assert read_lake(lake) == before
    assert len(restored.unreadable) == 1
