"""The restore drill: back up, lose the lake, restore, and go on working; erased voices stay erased."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from habla_ml.backup.create import BackupRequest, create_backup
from habla_ml.backup.manifest import list_manifests
from habla_ml.backup.restore import RestoreRequest, restore_backup
from habla_ml.consent.tombstones import add_tombstones, read_tombstones
from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.erasure.erase import reapply_tombstones
from habla_ml.errors import InputError, LakeError
from habla_ml.lake import DirectoryStore, Lake, Store, catalogue
from habla_ml.lake.table import read_table
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import save_settings
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.erasure import assert_nowhere, erase_all, replace_registry, withdraw
from habla_ml_tests.testing.full_lake import (
    DAYS,
    FullLake,
    encode_traces,
    iterate_stored_bytes,
    make_full_lake,
    read_pointers,
)
from habla_ml_tests.testing.habla_sessions import NOW as RECORDED_AT
from habla_ml_tests.testing.habla_sessions import make_workspace
from habla_ml_tests.testing.process_kill import hook_file_calls, run_until_killed
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS
from habla_ml_tests.testing.small_lake import DAYS as SMALL_DAYS
from habla_ml_tests.testing.small_lake import SmallLake, read_lake

NOW = datetime(2026, 12, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake_files(tmp_path_factory: pytest.TempPathFactory) -> FullLake:
    """A lake with the output of every stage; tests work on copies."""
    return make_full_lake(tmp_path_factory.mktemp("lake_files") / "root")


@pytest.fixture
def full_lake(lake_files: FullLake, tmp_path: Path) -> Iterator[FullLake]:
    """A copy of the lake in the place of the original, so that its settings stay right."""
    root = lake_files.workspace.root
    saved = copytree(root, tmp_path / "saved", symlinks=True)
    yield lake_files.with_lake(Lake(DirectoryStore(root / "lake"), root / "cache"))
    rmtree(root)
    copytree(saved, root, symlinks=True)


def run_command(full_lake: FullLake, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    profile = save_settings(full_lake.workspace.settings, full_lake.workspace.root / "profiles")
    return run_habla_ml(*arguments, "--profile", str(profile), **environment)


@pytest.mark.slow
def test_the_drill_of_docs_backup_in_a_folder(full_lake: FullLake, tmp_path: Path) -> None:
    workspace, backups = full_lake.workspace, str(tmp_path / "backups")
    before = read_pointers(full_lake.lake)
    done = run_command(full_lake, "backup", backups, "--keep", "30")
    assert done.returncode == 0, done.stderr
    assert f": {len(before)} pointers, " in done.stdout
    rmtree(workspace.root / "lake")
    listed = run_command(full_lake, "backup", "list", backups)
    assert f": {len(before)} pointers, " in listed.stdout
    restored = run_command(full_lake, "restore", backups, "--to", str(workspace.root / "lake"))
    assert restored.returncode == 0, restored.stderr
    checked = run_command(full_lake, "fsck", "--deep")
    assert (checked.returncode, "is whole" in checked.stdout) == (0, True), checked.stdout
    lake = Lake(DirectoryStore(workspace.root / "lake"), workspace.root / "new_cache")
    assert read_pointers(lake) == before
    for day in DAYS:  # nothing is to be done again, and the next work goes on
        assert ingest_day(workspace.recordings, day, lake, workspace.settings, RECORDED_AT).read_sessions == ()
        assert build_day(lake, day, workspace.conventions, workspace.settings) == load_corpus_day(lake, day)
    assert make_snapshot(lake, workspace.settings, workspace.conventions) == load_latest_snapshot(lake)
    again = run_command(full_lake, "restore", backups, "--to", str(workspace.root / "lake"))
    assert again.returncode == 1
    assert "is not empty" in again.stderr


@pytest.mark.slow
def test_the_drill_from_a_folder_to_a_bucket_and_back(full_lake: FullLake, s3_endpoint: str, tmp_path: Path) -> None:
    place, there = f"s3://{BUCKET}/drill", ("--endpoint-url", s3_endpoint, "--region", "us-east-1")
    done = run_command(full_lake, "backup", f"{place}/backups", *there, **CREDENTIALS)
    assert done.returncode == 0, done.stderr
    before = read_lake(full_lake.lake)
    rmtree(full_lake.workspace.root / "lake")
    home = full_lake.workspace.root / "lake"
    restored = run_command(full_lake, "restore", f"{place}/backups", *there, "--to", str(home), **CREDENTIALS)
    assert restored.returncode == 0, restored.stderr
    assert read_lake(Lake(DirectoryStore(home), tmp_path / "cache")) == before


@pytest.mark.slow
def test_a_voice_that_was_erased_after_a_backup_does_not_come_back(full_lake: FullLake, tmp_path: Path) -> None:
    workspace, target = full_lake.workspace, DirectoryStore(tmp_path / "backups")
    settings = workspace.settings
    request = BackupRequest(full_lake.lake, DirectoryStore(workspace.root / "lake"), target, settings.work_folder, {})
    old = create_backup(request, NOW).manifest
    theirs = withdraw(full_lake)
    erase_all(full_lake)
    after = create_backup(request, NOW + timedelta(days=1))
    assert after.before_erasure == (old.name,)
    store = DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "restored_cache")
    report = restore_backup(RestoreRequest(target, old.name, lake, store, settings), NOW)
    assert report.is_erased_again
    assert report.withdrawn == {}
    assert_nowhere(store, [], [full_lake.traces_by_segment[each] for each in theirs])
    assert read_tombstones(lake) == read_tombstones(full_lake.lake)
    kept = full_lake.traces_by_segment.keys() - theirs
    days = [load_corpus_day(lake, day) for day in DAYS]
    assert sum(day.counts["segments"] for day in days if day is not None) == len(kept)
    dropping = replace(request, drop_before_erasure=True)
    dropped = create_backup(dropping, NOW + timedelta(days=2))
    assert dropped.pruned.backups == (old.name,)
    traces = [trace for each in theirs for trace in encode_traces(full_lake.traces_by_segment[each])]
    assert not any(trace in data for _, data in iterate_stored_bytes(target, []) for trace in traces)


@pytest.mark.slow
def test_a_voice_that_was_withdrawn_after_the_last_backup_is_named(full_lake: FullLake, tmp_path: Path) -> None:
    backups, restored = str(tmp_path / "backups"), str(tmp_path / "restored")
    assert run_command(full_lake, "backup", backups).returncode == 0
    withdraw(full_lake)
    found = run_command(full_lake, "restore", backups, "--to", restored)
    assert "c-017 withdrew after this backup; run `habla-ml erase --contributor c-017" in found.stdout


def test_a_backup_that_was_made_during_an_erasure_does_not_bring_the_voice_back(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    lake, settings = folder_lake.lake, make_workspace(tmp_path / "settings").settings
    name = catalogue.ANNOTATIONS.name(SMALL_DAYS[0])
    add_tombstones(lake, {"one"}, ())  # as an erasure does first; a training that runs stops it here
    during = create_backup(folder_lake.request(target), NOW).manifest

    def restore(folder: str) -> list[str]:
        store = DirectoryStore(tmp_path / folder)
        restored = Lake(store, tmp_path / f"{folder}_cache")
        report = restore_backup(RestoreRequest(target, during.name, restored, store, settings), NOW)
        assert report.is_erased_again
        pointer = restored.read_pointer(name)
        assert pointer is not None
        return [str(each["text"]) for each in read_table(restored, pointer.value["parquet"]).to_pylist()]

    assert restore("before_its_end") == []
    reapply_tombstones(lake, settings, NOW)
    after = create_backup(folder_lake.request(target), NOW + timedelta(days=1))
    assert after.before_erasure == (during.name,)
    assert restore("after_its_end") == []


@pytest.mark.long
def test_a_restore_that_is_killed_at_any_step_continues(folder_lake: SmallLake, target: Store, tmp_path: Path) -> None:
    create_backup(folder_lake.request(target), NOW)
    settings = replace_registry(make_workspace(tmp_path / "settings").settings)
    step, killed = 1, True
    while killed:
        root = tmp_path / f"restored{step}"

        def restore(root: Path = root) -> None:
            store = DirectoryStore(root)
            restore_backup(RestoreRequest(target, None, Lake(store, tmp_path / "cache"), store, settings), NOW)

        def work(before_step: Callable[[], None], restore: Callable[[], None] = restore) -> None:
            hook_file_calls(before_step)
            restore()

        killed = run_until_killed(work, step)
        present = Lake(DirectoryStore(root), tmp_path / "cache")
        if killed or present.read_pointer("restore/unfinished") is not None:
            restore()
        assert read_lake(present) == read_lake(folder_lake.lake)
        step += 41
    assert step > 100


def test_a_lake_with_another_unfinished_restore_is_refused(
    folder_lake: SmallLake, target: Store, tmp_path: Path
) -> None:
    create_backup(folder_lake.request(target), NOW)
    store = DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "cache")
    lake.move_pointer("restore/unfinished", {"backup": "2026-01-01T00-00-00Z", "from": target.url}, None)
    request = RestoreRequest(target, None, lake, store, make_workspace(tmp_path / "settings").settings)
    with pytest.raises(InputError, match="unfinished restore of 2026-01-01T00-00-00Z; continue it with --backup"):
        restore_backup(request, NOW)


@pytest.mark.parametrize(
    ("part", "fault"), [("objects/", "is damaged"), (".ids", "is damaged"), ("manifest", "is damaged")]
)
def test_a_damaged_backup_is_refused(
    folder_lake: SmallLake, target: Store, tmp_path: Path, part: str, fault: str
) -> None:
    create_backup(folder_lake.request(target), NOW)
    path = Path(target.url) / next(each.key for each in target.list("") if part in each.key)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    store = DirectoryStore(tmp_path / "restored")
    request = RestoreRequest(
        target, None, Lake(store, tmp_path / "cache"), store, make_workspace(tmp_path / "settings").settings
    )
    with pytest.raises(LakeError, match=fault):
        restore_backup(request, NOW)
    assert list(store.list("pointers/annotations")) == []


def test_without_a_backup_the_error_names_the_next_step(target: Store, folder_lake: SmallLake, tmp_path: Path) -> None:
    settings, store = make_workspace(tmp_path / "settings").settings, DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "cache")
    with pytest.raises(InputError, match="has no complete backup; look at the address"):
        restore_backup(RestoreRequest(target, None, lake, store, settings), NOW)
    create_backup(folder_lake.request(target), NOW)
    name = list_manifests(target)[0].name
    with pytest.raises(InputError, match="has no backup 'x'; `habla-ml backup list"):
        restore_backup(RestoreRequest(target, "x", lake, store, settings), NOW)
    assert name == "2026-12-01T03-00-00Z"
