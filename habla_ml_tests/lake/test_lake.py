"""Objects, trees and pointers, over a folder and over S3."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from habla_ml.errors import LakeError, ObjectMissingError, PointerMovedError
from habla_ml.lake import DirectoryStore, Lake, Store, to_canonical_json
from habla_ml_tests.lake.conftest import SMALL_DISK_BYTES

MISSING = "0" * 64


@pytest.fixture
def lake(store: Store, tmp_path: Path) -> Lake:
    return Lake(store, tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"\x00" * 1000)
    (folder / "sub" / "ñandú.json").write_text("{}")
    (folder / "sub.json").write_text("{}")
    return folder


def test_the_id_of_an_object_is_its_sha256_and_it_is_stored_once(lake: Lake, store: Store) -> None:
    expected = hashlib.sha256(b"hola").hexdigest()
    assert lake.put_bytes(b"hola") == expected
    assert lake.put_bytes(b"hola") == expected
    assert [each.key for each in store.list("objects/")] == [f"objects/{expected[:2]}/{expected}"]
    assert lake.get_bytes(expected) == b"hola"
    assert lake.fetch_path(expected).read_bytes() == b"hola"


def test_equal_json_values_are_one_object(lake: Lake) -> None:
    assert lake.put_json({"b": 1, "a": [1.5, "ñ"]}) == lake.put_json({"a": [1.5, "ñ"], "b": 1})
    assert lake.get_json(lake.put_json({"a": "ñ"})) == {"a": "ñ"}
    assert to_canonical_json({"b": 1, "a": "ñ"}) == '{"a":"ñ","b":1}'.encode()


def test_a_missing_object_is_an_error(lake: Lake) -> None:
    for use in (lake.get_bytes, lake.get_json, lake.fetch_path, lake.list_tree_files):
        with pytest.raises(ObjectMissingError, match=MISSING):
            use(MISSING)


@pytest.mark.parametrize("name", ["", "abc", "Z" * 64, "../" + "a" * 61])
def test_an_object_id_must_be_a_sha256(lake: Lake, name: str) -> None:
    with pytest.raises(LakeError, match="is not a sha256"):
        lake.get_bytes(name)


def test_reading_an_object_that_is_not_json_as_json_is_an_error(lake: Lake) -> None:
    with pytest.raises(LakeError, match="is not JSON"):
        lake.get_json(lake.put_bytes(b"\xff{"))


def test_a_damaged_object_is_an_error(lake: Lake, store: Store, tmp_path: Path) -> None:
    name = hashlib.sha256(b"good").hexdigest()
    store.put_if_absent(f"objects/{name[:2]}/{name}", b"baad")
    with pytest.raises(LakeError, match="is damaged"):
        lake.get_bytes(name)
    tree = lake.put_json({"format": "habla_ml.tree/1", "files": [{"path": "a", "size_bytes": 4, "sha256": name}]})
    with pytest.raises(LakeError, match="is damaged"):
        lake.checkout_tree(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkout_has_the_files_of_its_tree(lake: Lake, folder: Path, tmp_path: Path) -> None:
    tree = lake.put_tree(folder)
    assert lake.put_tree(folder) == tree
    assert [each.path for each in lake.list_tree_files(tree)] == ["model.bin", "sub.json", "sub/ñandú.json"]
    out = lake.checkout_tree(tree, tmp_path / "deep" / "out")
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert lake.checkout_tree(tree, out) == out
    assert [each.name for each in out.parent.iterdir()] == ["out"]


def test_a_checkout_refuses_an_existing_folder_with_other_files(lake: Lake, folder: Path, tmp_path: Path) -> None:
    tree = lake.put_tree(folder)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.bin").write_bytes(b"short")
    with pytest.raises(LakeError, match=r"model\.bin is not the one of tree"):
        lake.checkout_tree(tree, tmp_path / "out")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder link"])
def test_a_tree_refuses_links_and_devices(lake: Lake, folder: Path, kind: str) -> None:
    strange = folder / "strange"
    if kind == "pipe":
        os.mkfifo(strange)
    else:
        strange.symlink_to("/etc/hostname" if kind == "link" else "/etc")
    with pytest.raises(LakeError, match="strange is a link or a device"):
        lake.put_tree(folder)


@pytest.mark.parametrize("made", [True, False])
def test_a_tree_needs_files(lake: Lake, tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "empty").mkdir()
    with pytest.raises(LakeError, match="contains no files"):
        lake.put_tree(tmp_path / "empty")


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "a/../../b"])
def test_a_path_that_leaves_the_tree_is_refused(lake: Lake, tmp_path: Path, path: str) -> None:
    entry = {"path": path, "size_bytes": 1, "sha256": lake.put_bytes(b"x")}
    tree = lake.put_json({"format": "habla_ml.tree/1", "files": [entry]})
    with pytest.raises(LakeError, match="leaves its folder"):
        lake.checkout_tree(tree, tmp_path / "out")


def test_an_object_that_is_not_a_tree_is_an_error(lake: Lake) -> None:
    with pytest.raises(LakeError, match="is not a tree"):
        lake.list_tree_files(lake.put_json({"files": []}))


def test_a_pointer_moves_and_is_listed_by_its_name(lake: Lake) -> None:
    assert lake.read_pointer("models/v1/report") is None
    first = lake.move_pointer("models/v1/report", {"comparison": "a"}, None)
    assert lake.read_pointer("models/v1/report") == first
    assert lake.move_pointer("models/v1/report", {"comparison": "a"}, first) is first
    second = lake.move_pointer("models/v1/report", {"comparison": "b"}, first)
    with pytest.raises(PointerMovedError):
        lake.move_pointer("models/v1/report", {"comparison": "c"}, first)
    assert lake.read_pointer("models/v1/report") == second
    lake.move_pointer("models/v10/report", {}, None)
    lake.move_pointer("splits", {}, None)
    assert list(lake.list_pointers("models/v1/")) == ["models/v1/report"]
    assert list(lake.list_pointers("")) == ["models/v1/report", "models/v10/report", "splits"]


def test_a_damaged_pointer_is_an_error_with_its_name(lake: Lake, store: Store) -> None:
    store.put_if_absent("pointers/splits.json", b"[1]")
    store.put_if_absent("pointers/other.json", b"{")
    for name in ("splits", "other"):
        with pytest.raises(LakeError, match=f"pointer {name} .* is not a JSON object"):
            lake.read_pointer(name)


def test_an_object_of_a_local_lake_is_not_copied(tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    assert lake.fetch_path(lake.put_bytes(b"x")).is_relative_to(tmp_path / "lake")
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_leaves_the_last_good_state(small_disk: Path, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(small_disk / "lake"), tmp_path / "cache")
    before = lake.move_pointer("models/v1/checkpoint", {"tree": lake.put_bytes(b"small")}, None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_bytes(b"a" * 100)
    (tmp_path / "model" / "b").write_bytes(b"b" * (2 * SMALL_DISK_BYTES))
    with pytest.raises(LakeError, match="free some space"):
        lake.put_tree(tmp_path / "model")
    assert lake.read_pointer("models/v1/checkpoint") == before
    assert lake.get_bytes(before.value["tree"]) == b"small"


def test_a_checkout_on_a_full_disk_leaves_no_folder(small_disk: Path, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "b").write_bytes(b"b" * (2 * SMALL_DISK_BYTES))
    tree = lake.put_tree(tmp_path / "model")
    with pytest.raises(LakeError, match=f"cannot copy tree {tree[:12]} to"):
        lake.checkout_tree(tree, small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_deleting_an_object_deletes_its_cached_copy(lake: Lake, store: Store, tmp_path: Path) -> None:
    gone, kept = lake.put_bytes(b"gone"), lake.put_bytes(b"kept")
    for each in (gone, kept):
        lake.fetch_path(each)
    assert lake.delete_objects([gone]) == 1
    assert lake.delete_objects([gone, MISSING]) == 0
    with pytest.raises(ObjectMissingError):
        lake.fetch_path(gone)
    assert lake.get_bytes(kept) == b"kept"
    assert list(lake.list_object_ids()) == [kept]
    assert gone not in list(lake.list_cached_ids())


def test_a_deletion_with_a_reachable_object_deletes_nothing(lake: Lake, folder: Path) -> None:
    tree, free = lake.put_tree(folder), lake.put_bytes(b"free")
    body = lake.put_json({"deep": [{"tree": tree}], "by_id": {lake.put_bytes(b"as a key"): 1}})
    first = lake.move_pointer("models/v1/x", {"body": body}, None)
    deep = [each.sha256 for each in lake.list_tree_files(tree)]
    for held in (tree, body, deep[0], hashlib.sha256(b"as a key").hexdigest()):
        with pytest.raises(LakeError, match=r"still named.*models/v1/x; nothing was deleted"):
            lake.delete_objects([free, held])
    assert lake.get_bytes(free) == b"free"
    assert lake.delete_objects([free, body], rewritten=["models/v1/x"]) == 2
    lake.move_pointer("models/v1/x", {"tree": tree}, first)
    with pytest.raises(LakeError, match="still named"):
        lake.delete_objects(deep)


def test_settings_hold_objects_under_their_own_name_and_leaves_are_not_read(lake: Lake) -> None:
    below = lake.put_bytes(b"below")
    body, named = lake.put_json({"below": below}), lake.put_json({"only": "settings"})
    lake.move_pointer("p", {"body": body}, None)
    present = set(lake.list_object_ids())
    assert lake.find_reachable(present, more=[{"snapshot": named}]) == {body: "p", below: "p", named: "settings"}
    assert lake.find_reachable(present, leaves=[body]) == {body: "p"}
    assert lake.find_reachable(present, ignored=["p"]) == {}


def test_the_objects_of_a_deleted_pointer_can_be_deleted(lake: Lake) -> None:
    named = lake.put_bytes(b"x")
    lake.move_pointer("p", {"x": named}, None)
    assert lake.delete_pointer("p") is True
    assert lake.delete_pointer("p") is False
    assert lake.read_pointer("p") is None
    assert lake.delete_objects([named]) == 1


def test_a_derived_file_is_found_until_it_is_dropped(tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    sha256 = lake.put_bytes(b"audio")
    assert lake.find_part(sha256, "wav") is None
    made = lake.cache_part(sha256, "wav", lambda target: target.write_bytes(b"wav"))
    assert lake.find_part(sha256, "wav") == made
    assert (made.read_bytes(), lake.find_part(sha256, "mp3"), lake.find_part("0" * 64, "wav")) == (b"wav", None, None)
    lake.drop_part(sha256, "wav")
    assert lake.find_part(sha256, "wav") is None
