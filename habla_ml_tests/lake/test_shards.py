"""Tables in several objects: which rows count, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake, shards
from habla_ml.lake.ranges import ObjectRanges
from habla_ml.lake.shards import (
    Shard,
    ShardedTable,
    append_rows,
    count_rows,
    find_rows,
    is_table,
    iterate_batches,
    load_shards,
    read_rows,
)
from habla_ml.lake.table import put_table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def put_rows(lake: Lake, *rows: tuple[str, str, int]) -> str:
    columns = dict(zip(("session", "name", "number"), map(list, zip(*rows, strict=True)), strict=True))
    return put_table(lake, pa.table(columns))


@pytest.fixture
def table_id(lake: Lake) -> str:
    """Session b was replaced: its first row does not count."""
    first = put_rows(lake, ("a", "x", 1), ("b", "y", 2), ("c", "x", 3))
    second = put_rows(lake, ("b", "x", 4), ("b", "z", 5))
    return ShardedTable("session", (Shard(first).without(["b"]), Shard(second))).save(lake)


def collect(found: Any) -> list[Any]:
    return [row for part in found for row in part.rows.to_pylist()]


def test_a_replaced_row_does_not_count_whatever_columns_are_read(lake: Lake, table_id: str) -> None:
    assert count_rows(lake, table_id) == 4
    for columns in (["number"], ["session", "number"], ["number", "session"]):
        rows = read_rows(lake, table_id, columns)
        assert (rows.column_names, rows["number"].to_pylist()) == (columns, [1, 3, 4, 5])
        batches = list(iterate_batches(lake, table_id, columns))
        assert all(set(each.schema.names) == set(columns) for each in batches)
        assert [number for each in batches for number in each["number"].to_pylist()] == [1, 3, 4, 5]
    assert [each.num_rows for each in iterate_batches(lake, table_id, batch_rows=1)] == [1, 0, 1, 1, 1]
    (first, *_) = iterate_batches(lake, table_id, ["number", "of no shard"])
    assert first.schema.names == ["number"]


@pytest.mark.parametrize("by_ranges", [False, True])
def test_wanted_rows_are_found_with_their_place(lake: Lake, table_id: str, by_ranges: bool) -> None:
    first, second = load_shards(lake, table_id, by_ranges=by_ranges).shards
    found = list(find_rows(lake, table_id, "name", "x".__eq__, ["number"], by_ranges=by_ranges))
    assert [(each.parquet, each.row_group, each.places, each.rows.to_pydict()) for each in found] == [
        (first.parquet, 0, [0, 2], {"number": [1, 3]}),
        (second.parquet, 0, [0], {"number": [4]}),
    ]
    by_key = find_rows(lake, table_id, "session", "b".__eq__, ["number", "name"], by_ranges=by_ranges)
    assert collect(by_key) == [{"number": 4, "name": "x"}, {"number": 5, "name": "z"}]
    assert collect(find_rows(lake, table_id, "name", "y".__eq__, ["number"], by_ranges=by_ranges)) == []


def test_a_table_of_one_object_without_replaced_rows_has_its_id(lake: Lake, table_id: str) -> None:
    alone = put_rows(lake, ("a", "x", 1))
    assert ShardedTable("session", (Shard(alone),)).save(lake) == alone
    assert load_shards(lake, alone, "session") == ShardedTable("session", (Shard(alone),))
    assert ShardedTable("session", (Shard(alone, ("a",)),)).save(lake) != alone
    loaded = load_shards(lake, table_id)
    assert (loaded.key, loaded.shards[0].left_out, loaded.shards[1].left_out) == ("session", ("b",), ())
    assert loaded.save(lake) == table_id
    assert Shard("p", ("b",)).without(["c", "a", "b"]).left_out == ("a", "b", "c")
    assert count_rows(lake, ShardedTable("session", (Shard(alone, ("a",)),)).save(lake)) == 0


def test_new_rows_join_a_small_last_shard_and_start_one_after_a_large_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_SMALL_SHARD_ROWS", 3)
    table_id, numbers = None, []
    for first in (0, 2, 4, 6):
        numbers += [first, first + 1]
        rows = pa.table({"session": ["a", "b"], "number": [first, first + 1]})
        table_id = append_rows(lake, table_id, rows, "session")
        assert read_rows(lake, table_id, ["number"])["number"].to_pylist() == numbers
    assert table_id is not None
    loaded = load_shards(lake, table_id)
    assert [count_rows(lake, each.parquet) for each in loaded.shards] == [4, 4]
    assert loaded.key == "session"
    assert is_table(lake, table_id)
    assert is_table(lake, loaded.shards[0].parquet)
    assert not is_table(lake, lake.put_json({"format": "other"}))


@pytest.mark.parametrize("value", [{"format": "other", "shards": []}, ["PAR2"]])
@pytest.mark.parametrize("by_ranges", [False, True])
def test_an_object_that_is_no_table_is_an_error(lake: Lake, value: Any, by_ranges: bool) -> None:
    with pytest.raises(LakeError, match="is no table"):
        load_shards(lake, lake.put_json(value), by_ranges=by_ranges)


def test_an_object_is_read_in_ranges_as_a_file_is() -> None:
    data, asked = bytes(range(100)), []

    def read_range(start: int, length: int) -> bytes:
        asked.append((start, length))
        return data[start : start + length]

    file = ObjectRanges(read_range, 100)
    assert (file.readable(), file.seekable(), file.tell()) == (True, True, 0)
    assert (file.read(3), file.tell(), file.read(2)) == (b"\0\1\2", 3, b"\3\4")
    assert (file.seek(-4, 2), file.read(9)) == (96, data[96:])
    assert (file.read(1), file.read()) == (b"", b"")
    assert (file.seek(10), file.seek(-2, 1), len(file.read(None))) == (10, 8, 92)
    assert (file.seek(120), file.read()) == (120, b"")
    assert asked == [(0, 3), (3, 2), (96, 4), (8, 92)], "nothing is asked for at the end"
