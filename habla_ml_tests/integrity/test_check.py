"""`habla-ml fsck` finds each kind of damage, explains it, and repairs objects from a backup."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from habla_ml.integrity.check import LakeCheck, LakeFinding
from habla_ml.integrity.object_index import IndexedObject, open_object_index
from habla_ml.integrity.pointer_kinds import POINTER_KINDS, find_pointer_kind
from habla_ml.lake import DirectoryStore, catalogue
from habla_ml.lake.catalogue import PointerFamily
from habla_ml.lake.lake import make_object_key
from habla_ml.lake.shards import Shard, ShardedTable
from habla_ml.lake.table import put_table
from habla_ml.settings import save_settings
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.habla_sessions import make_workspace
from habla_ml_tests.testing.small_lake import DAYS, SmallLake, make_small_lake

DAY = f"annotations/{DAYS[0]}"


@pytest.fixture
def small_lake(tmp_path: Path) -> SmallLake:
    return make_small_lake(tmp_path, DirectoryStore(tmp_path / "lake"))


def write_over(small_lake: SmallLake, key: str, data: bytes) -> None:
    """Damage a file like a failing disk."""
    path = Path(small_lake.store.url) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o644)
    path.write_bytes(data)


def get_table(small_lake: SmallLake, name: str = DAY) -> str:
    pointer = small_lake.lake.read_pointer(name)
    assert pointer is not None
    table: str = pointer.value["parquet"]
    return table


def get_model_file(small_lake: SmallLake) -> str:
    pointer = small_lake.lake.read_pointer("models/v1/checkpoint")
    assert pointer is not None
    return next(
        each.sha256 for each in small_lake.lake.list_tree_files(pointer.value["tree"]) if each.path == "model.bin"
    )


def get_only_damage(found: LakeCheck) -> LakeFinding:
    (damage,) = (each for each in found.findings if each.is_damage)
    assert damage.meaning
    assert damage.next_step
    return damage


def test_a_whole_lake_has_no_finding(small_lake: SmallLake) -> None:
    found = small_lake.check(deep=True)
    assert (found.findings, found.pointers, found.objects) == ((), 3, 7)


def test_a_missing_object_names_the_day_and_what_to_do(small_lake: SmallLake) -> None:
    table = get_table(small_lake)
    small_lake.store.delete(make_object_key(table))
    damage = get_only_damage(small_lake.check())
    assert damage.subject == DAY
    assert damage.found == f"object {table} (parquet) is missing"
    assert damage.meaning == "the corrections of a day cannot be read in full"
    assert "materialise annotated_corpus of that day" in damage.next_step


def test_a_missing_file_of_a_model_and_a_cut_one_are_found(small_lake: SmallLake) -> None:
    weights = get_model_file(small_lake)
    write_over(small_lake, make_object_key(weights), b"cut")
    assert "(model.bin) has 3 bytes in place of 10240" in get_only_damage(small_lake.check()).found
    small_lake.store.delete(make_object_key(weights))
    assert get_only_damage(small_lake.check()).found == f"object {weights} (model.bin) is missing"


def test_changed_bytes_of_the_same_size_are_found_by_a_deep_check_only(small_lake: SmallLake) -> None:
    weights = get_model_file(small_lake)
    write_over(small_lake, make_object_key(weights), bytes(10_240))
    assert not small_lake.check().is_damaged
    damage = get_only_damage(small_lake.check(deep=True))
    assert (damage.subject, damage.found) == ("models/v1/checkpoint", f"object {weights} has bytes with another sha256")


def test_a_damaged_object_that_nothing_needs_is_a_note(small_lake: SmallLake) -> None:
    unused = small_lake.lake.put_bytes(b"superseded")
    assert [each.kind for each in small_lake.check(deep=True).findings] == ["superseded objects"]
    write_over(small_lake, make_object_key(unused), b"supersedex")
    found = small_lake.check(deep=True)
    assert not found.is_damaged
    assert [each.kind for each in found.findings] == ["unused object", "superseded objects"]


@pytest.mark.parametrize("data", [b"PAR1 without an end", b"\0 no table at all", b""])
def test_a_table_that_does_not_parse_is_found_without_a_deep_check(small_lake: SmallLake, data: bytes) -> None:
    write_over(small_lake, make_object_key(get_table(small_lake)), data)
    assert "(parquet) is no parquet table that can be read" in get_only_damage(small_lake.check()).found


def test_a_missing_shard_of_a_table_is_found_and_json_in_its_place_is_no_table(small_lake: SmallLake) -> None:
    lake, whole = small_lake.lake, get_table(small_lake)
    lost = put_table(lake, pa.table({"segment_id": ["two"]}))
    pointer = lake.read_pointer(DAY)
    assert pointer is not None
    table = ShardedTable("segment_id", (Shard(whole), Shard(lost))).save(lake)
    pointer = lake.move_pointer(DAY, {**pointer.value, "parquet": table}, pointer)
    assert not small_lake.check().is_damaged
    small_lake.store.delete(make_object_key(lost))
    assert f"object {lost} (shards) is missing" in get_only_damage(small_lake.check()).found
    lake.move_pointer(DAY, {**pointer.value, "parquet": lake.put_json({"rows": 2})}, pointer)
    assert "is neither a table nor its list of shards" in get_only_damage(small_lake.check()).found


def test_json_that_was_changed_is_found_without_a_deep_check(small_lake: SmallLake) -> None:
    pointer = small_lake.lake.read_pointer("models/v1/checkpoint")
    assert pointer is not None
    write_over(small_lake, make_object_key(pointer.value["record"]), b'{"steps":2}')
    assert "cannot be read" in get_only_damage(small_lake.check()).found


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff"])
def test_an_unreadable_pointer_is_found(small_lake: SmallLake, data: bytes) -> None:
    write_over(small_lake, f"pointers/{DAY}.json", data)
    damage = get_only_damage(small_lake.check())
    assert (damage.kind, damage.subject) == ("pointer", DAY)
    assert f"copy pointers/{DAY}.json from there" in damage.next_step


def test_an_unknown_pointer_and_a_stray_file_are_notes(small_lake: SmallLake) -> None:
    small_lake.lake.move_pointer("plans/tomorrow", {"at": 1}, None)
    write_over(small_lake, "objects/notes.txt", b"mine")
    write_over(small_lake, "photos/one.jpg", b"mine")
    found = small_lake.check()
    assert not found.is_damaged
    assert [(each.kind, each.subject) for each in found.findings] == [
        ("unknown pointer", "plans/tomorrow"),
        ("stray file", "objects/notes.txt"),
        ("stray file", "photos"),
    ]


def test_an_unfinished_restore_is_damage(small_lake: SmallLake) -> None:
    small_lake.lake.move_pointer(catalogue.UNFINISHED_RESTORE, {"backup": "2026-01-01T00-00-00Z"}, None)
    assert "run the same `habla-ml restore` again" in get_only_damage(small_lake.check()).next_step


def test_many_lost_objects_of_a_pointer_are_one_finding(small_lake: SmallLake, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        (folder / f"part{number:02d}").write_bytes(b"part %d" % number)
    tree = small_lake.lake.put_tree(folder)
    small_lake.lake.move_pointer("models/v2/ctranslate2", {"tree": tree}, None)
    for each in small_lake.lake.list_tree_files(tree):
        small_lake.store.delete(make_object_key(each.sha256))
    assert "(part02) and 17 more is missing" in get_only_damage(small_lake.check()).found


@pytest.mark.parametrize("text", [b'["habla_ml.tree/1"]', b'{"format":"habla_ml.tree/1"', b'{"of":"habla_ml.tree/1"}'])
def test_json_that_only_quotes_the_format_of_a_tree_is_no_tree(small_lake: SmallLake, text: bytes) -> None:
    small_lake.lake.move_pointer("speed/one", {"run": small_lake.lake.put_bytes(text)}, None)
    assert small_lake.check(deep=True).findings == ()


def test_every_pointer_of_the_catalogue_has_a_kind() -> None:
    known = [each for name, each in vars(catalogue).items() if name.isupper() and isinstance(each, PointerFamily | str)]
    assert len(known) > 30
    for each in known:
        name = each if isinstance(each, str) else each.name(*["x"] * each.pattern.count("{}"))
        kind = find_pointer_kind(name)
        assert kind is not None, name
        assert kind.names == each
    assert len(POINTER_KINDS) == len(known)


def test_an_index_counts_and_orders_objects_on_disk(tmp_path: Path) -> None:
    ids = [f"{number:064x}" for number in (3, 1, 2)]
    with open_object_index(tmp_path) as index:
        index.add(IndexedObject(each, 10) for each in ids)
        assert index.reach(ids[0], "a")
        assert not index.reach(ids[0], "b")
        assert not index.reach("f" * 64, "b")
        assert index.find_pointer(ids[0]) == "a"
        assert (index.sum_objects(), index.sum_unreached()) == ((3, 30), (2, 20))
        assert [each.sha256 for each in index.list_objects()] == sorted(ids)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_command_explains_repairs_and_exits_with_1(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    small_lake = make_small_lake(tmp_path, DirectoryStore(tmp_path / "lake"))
    profile, backups = str(save_settings(workspace.settings, tmp_path / "profiles")), str(tmp_path / "backups")
    assert run_habla_ml("backup", backups, "-p", profile).returncode == 0
    table, weights = get_table(small_lake), get_model_file(small_lake)
    small_lake.store.delete(make_object_key(table))
    write_over(small_lake, make_object_key(weights), bytes(10_240))
    found = run_habla_ml("fsck", "--deep", "--json", "-p", profile)
    assert found.returncode == 1
    assert [each["subject"] for each in json.loads(found.stdout)["findings"] if each["is_damage"]] == [
        DAY,
        "models/v1/checkpoint",
    ]
    shown = run_habla_ml("fsck", "-p", profile)
    assert f"damaged {DAY}: object {table} (parquet) is missing" in shown.stdout
    repaired = run_habla_ml("fsck", "--deep", "--repair-from", backups, "-p", profile)
    assert (repaired.returncode, "2 objects copied from" in repaired.stderr) == (0, True), repaired.stdout
    assert small_lake.lake.get_bytes(weights) == bytes(range(256)) * 40
