"""A table in several parquet objects, its shards. New rows become new shards, so their cost does not follow the table.

The id of such a table is that of its manifest, a JSON object:

    {"format": "habla_ml.shards/1", "key": "session_id",
     "shards": [{"parquet": "<object id>", "left_out": ["<key>", …]}, …]}

A key is a column by which rows are replaced together. The rows of a shard whose key is in its `left_out` do not count: a
later shard has them again, or they left the table. A parquet object without a manifest is a table of one shard, so the
same id can name either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.errors import LakeError
from habla_ml.lake.lake import Lake
from habla_ml.lake.table import open_parquet, put_table

SHARDS_FORMAT: Final = "habla_ml.shards/1"
_PARQUET_START: Final = b"PAR1"
_BATCH_ROWS: Final = 65_536
_SMALL_SHARD_ROWS: Final = 65_536
"""A shard with fewer rows is written again with the rows that are added next."""


@dataclass(frozen=True)
class Shard:
    """One parquet object of a table."""

    parquet: str
    """Object id."""
    left_out: tuple[str, ...] = ()
    """Keys of the rows that do not count, sorted."""

    def without(self, keys: Collection[str]) -> Shard:
        """Return the shard without the rows of more keys."""
        return Shard(self.parquet, tuple(sorted({*self.left_out, *keys})))


@dataclass(frozen=True)
class ShardedTable:
    """The shards of a table in the order of their arrival."""

    key: str
    """Name of the column by which rows are left out."""
    shards: tuple[Shard, ...]

    def find_counted(self, rows: pa.Table | pa.RecordBatch, shard: Shard) -> Any:
        """Return a mask of the rows of a shard that count; without left-out keys they need not have the key."""
        if not shard.left_out:
            return pa.array(np.ones(rows.num_rows, np.bool_))
        return pc.invert(pc.is_in(rows[self.key], pa.array(shard.left_out, pa.string())))

    def select_counted(self, rows: pa.RecordBatch, shard: Shard) -> pa.RecordBatch:
        """Return the rows of a shard that count, see `find_counted`."""
        return rows.filter(self.find_counted(rows, shard)) if shard.left_out else rows

    def save(self, lake: Lake) -> str:
        """Publish the table and return its id: that of its only shard if no row is left out, else of a manifest."""
        if len(self.shards) == 1 and not self.shards[0].left_out:
            return self.shards[0].parquet
        return lake.put_json({"format": SHARDS_FORMAT, **asdict(self)})


@dataclass(frozen=True)
class FoundRows:
    """Rows of one row group."""

    parquet: str
    """Object id of the shard."""
    row_group: int
    places: list[int]
    """Of the rows, in their row group."""
    rows: pa.Table


def load_shards(lake: Lake, table_id: str, key: str = "", *, by_ranges: bool = False) -> ShardedTable:
    """Return the shards of a table; a parquet object is its own only shard, with this `key`.

    A parquet object is fetched whole, unless it is read `by_ranges` later.

    Raises:
        LakeError: The object is neither a manifest nor a parquet table.
    """
    if by_ranges:
        start = lake.read_object_start(table_id, len(_PARQUET_START))
    else:
        with lake.fetch_path(table_id).open("rb") as file:
            start = file.read(len(_PARQUET_START))
    if start == _PARQUET_START:
        return ShardedTable(key, (Shard(table_id),))
    body: Any = lake.get_json(table_id)
    if not isinstance(body, dict) or body.get("format") != SHARDS_FORMAT:
        raise LakeError(
            f"object {table_id} in {lake.url} is no table; pass the id of a parquet object or of a manifest"
        )
    shards = tuple(Shard(each["parquet"], tuple(each["left_out"])) for each in body["shards"])
    return ShardedTable(body["key"], shards)


def iterate_batches(
    lake: Lake, table_id: str, columns: Sequence[str] | None = None, batch_rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table, at most `batch_rows` at a time, with those of these columns that it has, or all."""
    table = load_shards(lake, table_id)
    for shard in table.shards:
        file = open_parquet(lake.fetch_path(shard.parquet))
        names = file.schema_arrow.names
        wanted = names if columns is None else [each for each in columns if each in names]
        read = wanted if table.key in wanted or not shard.left_out else [*wanted, table.key]
        for batch in file.iter_batches(batch_rows, columns=read):
            yield table.select_counted(batch, shard).select(wanted)


def read_rows(lake: Lake, table_id: str, columns: Sequence[str]) -> pa.Table:
    """Read columns of a table into memory, in the order of its shards."""
    table = load_shards(lake, table_id)
    read = columns if table.key in columns else [*columns, table.key]
    parts = []
    for shard in table.shards:
        rows = open_parquet(lake.fetch_path(shard.parquet)).read(list(read if shard.left_out else columns))
        parts.append(rows.filter(table.find_counted(rows, shard)).select(list(columns)))
    return pa.concat_tables(parts)


def append_rows(lake: Lake, table_id: str | None, rows: pa.Table, key: str) -> str:
    """Add rows to a table without left-out keys, and return its new id; None for a table without rows so far.

    The new rows, and a small last shard, are written. `key` names the column by which rows can be left out later.
    """
    shards = () if table_id is None else load_shards(lake, table_id, key).shards
    if shards and count_rows(lake, shards[-1].parquet) < _SMALL_SHARD_ROWS:
        rows, shards = pa.concat_tables([read_rows(lake, shards[-1].parquet, rows.column_names), rows]), shards[:-1]
    return ShardedTable(key, (*shards, Shard(put_table(lake, rows.combine_chunks())))).save(lake)


def is_table(lake: Lake, object_id: str) -> bool:
    """Return whether an object is a parquet object or a manifest, and no other JSON value."""
    if lake.read_object_start(object_id, len(_PARQUET_START)) == _PARQUET_START:
        return True
    body: Any = lake.get_json(object_id)
    return isinstance(body, dict) and body.get("format") == SHARDS_FORMAT


def count_rows(lake: Lake, table_id: str) -> int:
    """Return the number of rows of a table; reads no row of a shard without left-out keys."""
    table = load_shards(lake, table_id)
    total = 0
    for shard in table.shards:
        file = open_parquet(lake.fetch_path(shard.parquet))
        if shard.left_out:
            total += sum(table.select_counted(each, shard).num_rows for each in file.iter_batches(columns=[table.key]))
        else:
            total += file.metadata.num_rows
    return total


def find_rows(
    lake: Lake,
    table_id: str,
    column: str,
    is_wanted: Callable[[str], bool],
    columns: Sequence[str],
    *,
    by_ranges: bool = False,
) -> Iterator[FoundRows]:
    """Yield the rows whose `column` has a wanted value, by row group; the `columns` of no other row group are read.

    `by_ranges` reads only these parts of the stored objects, which are then not verified, in place of whole local copies.
    """
    table = load_shards(lake, table_id, by_ranges=by_ranges)
    for shard in table.shards:
        source = pa.PythonFile(lake.open_ranges(shard.parquet), "r") if by_ranges else lake.fetch_path(shard.parquet)
        file = pq.ParquetFile(source)
        searched = [column, table.key] if shard.left_out and table.key != column else [column]
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=searched)
            values = pa.array([each for each in names[column].unique().to_pylist() if is_wanted(each)], pa.string())
            if not len(values):
                continue
            counted = pc.and_(pc.is_in(names[column], values), table.find_counted(names, shard))
            at = pc.indices_nonzero(counted)
            if len(at):
                found = file.read_row_group(group, columns=list(columns)).take(at)
                yield FoundRows(shard.parquet, group, at.to_pylist(), found)
