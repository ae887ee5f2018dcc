"""The manifests of backups, over a folder and over S3: which backup is taken, and what is refused as damaged."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.backup.manifest import (
    BackupManifest,
    check_ids,
    find_backup,
    list_manifest_keys,
    list_manifests,
    make_backup_name,
    make_ids_key,
    put_manifest,
    read_ids,
    read_manifest,
)
from habla_ml.errors import InputError, LakeError
from habla_ml.lake import Store
from habla_ml_tests.lake.conftest import new_store, s3_client, store

__all__ = ["new_store", "s3_client", "store"]

IDS = ["00" * 32, "0f" * 32, "ff" * 32]
DATA = bytes.fromhex("".join(IDS))
FIRST, SECOND, THIRD = (make_backup_name(datetime(2026, 11, day, 9, 5, 7, tzinfo=UTC)) for day in (1, 2, 30))


def make_manifest(name: str, **fields: Any) -> BackupManifest:
    given = {
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
        "lake": "/lake",
        "code": "1.0.0",
        "pointers": {"consent/tombstones": {"tombstones": "a" * 64}},
        "moved_meanwhile": (),
        "objects": len(IDS),
        "size_bytes": 7,
        "ids_sha256": hashlib.sha256(DATA).hexdigest(),
        "faults": (),
    }
    return BackupManifest(name=name, **{**given, **fields})


def test_the_newest_complete_backup_is_taken_and_another_by_its_name(store: Store) -> None:
    assert FIRST == "2026-11-01T09-05-07Z"
    with pytest.raises(InputError, match="has no complete backup; look at the address"):
        find_backup(store, None)
    manifests = [make_manifest(FIRST), make_manifest(SECOND), make_manifest(THIRD, faults=("object x is missing",))]
    for each in reversed(manifests):
        put_manifest(store, each)
        store.put_if_absent(make_ids_key(each.name), DATA)
    assert list(list_manifest_keys(store)) == [FIRST, SECOND, THIRD]
    assert list_manifests(store) == manifests
    assert [each.is_complete for each in manifests] == [True, True, False]
    assert find_backup(store, None) == manifests[1]
    assert [find_backup(store, each.name) for each in manifests] == manifests
    with pytest.raises(InputError, match=r"has no backup '2026'; .* shows 3 backups"):
        find_backup(store, "2026")


def test_incomplete_backups_are_named_where_there_is_no_other(store: Store) -> None:
    for name in (FIRST, SECOND):
        put_manifest(store, make_manifest(name, faults=("object x is missing",)))
    with pytest.raises(InputError, match=rf"only incomplete ones: name one with --backup \({FIRST}, {SECOND}\)"):
        find_backup(store, None)


def test_a_manifest_that_was_changed_or_is_of_another_version_is_refused(store: Store) -> None:
    put_manifest(store, make_manifest(FIRST))
    (key,) = list_manifest_keys(store).values()
    data = store.read(key)
    changed = key.replace(FIRST, SECOND)
    store.put_if_absent(changed, data.replace(b"/lake", b"/Lake"))
    with pytest.raises(LakeError, match=f"{changed} in .* is damaged: its bytes have another sha256"):
        read_manifest(store, changed)
    newer = data.replace(b"habla_ml.backup/1", b"habla_ml.backup/2")
    other = f"backups/{THIRD}/manifest-{hashlib.sha256(newer).hexdigest()}.json"
    store.put_if_absent(other, newer)
    with pytest.raises(LakeError, match=r"of another version of habla_ml \(Input should be 'habla_ml.backup/1'\)"):
        read_manifest(store, other)


@pytest.mark.parametrize("change", ["none", "cut", "longer", "other"])
def test_the_ids_of_the_objects_are_read_whole_or_refused(store: Store, tmp_path: Path, change: str) -> None:
    data = {"none": DATA, "cut": DATA[:-1], "longer": DATA + bytes(32), "other": DATA[:-1] + b"\x00"}[change]
    manifest = make_manifest(FIRST)
    put_manifest(store, manifest)
    store.put_if_absent(make_ids_key(FIRST), data)
    (tmp_path / "check").mkdir()
    if change == "none":
        check_ids(store, manifest, tmp_path / "check")
    else:
        with pytest.raises(LakeError, match=r"objects\.ids in .* is damaged: its bytes have another sha256"):
            check_ids(store, manifest, tmp_path / "check")
    if change == "cut":
        with pytest.raises(LakeError, match="is damaged: it is cut; use another backup"):
            list(read_ids(store, FIRST, tmp_path))
    else:
        expected = {"none": IDS, "longer": [*IDS, "00" * 32], "other": [*IDS[:-1], "ff" * 31 + "00"]}[change]
        assert list(read_ids(store, FIRST, tmp_path)) == expected


def test_the_tombstones_of_a_backup_are_those_of_its_pointer() -> None:
    assert make_manifest(FIRST, pointers={}).tombstones is None
    assert make_manifest(FIRST, pointers={"consent/tombstones": {"tombstones": "b" * 64}}).tombstones == "b" * 64
