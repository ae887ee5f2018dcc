"""The two tables of a day of recordings, with audio and without, and how changed sessions get into them.

A day of up to `ShardSizes.small_bytes` is one object, sorted by session. Of a larger day, a changed session is written into
new shards (`habla_ml.lake.shards`) and left out of the earlier ones. Small shards, and those with less than half of their
rows, are written again with it. So a change writes the changed sessions, a small shard and now and then a sparse one,
however large the day is.
"""

from __future__ import annotations

import heapq
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.consent.tombstones import drop_erased_rows
from habla_ml.lake import Lake
from habla_ml.lake.shards import Shard, ShardedTable, iterate_batches, load_shards
from habla_ml.lake.table import open_parquet
from habla_ml.recordings.segments import ROW_GROUP_SIZE, SEGMENT_METADATA_SCHEMA, SEGMENT_SCHEMA, RecordedSegment

_KEY: Final = "session_id"
_CACHED_ROW_GROUPS: Final = 8
"""About 8 MB each."""
_HINT_COLUMNS: Final = ("recorded_at", "speaker", "direction", "machine_text", "machine_confidence", "asr_status")
_Row = dict[str, Any]


@dataclass(frozen=True)
class ShardSizes:
    """Bounds of the shards with audio."""

    small_bytes: int = 64 << 20
    """A smaller shard is written again with the next change."""
    largest_bytes: int = 256 << 20
    """A shard ends with the row group that exceeds it."""


SHARD_SIZES: Final = ShardSizes()


@dataclass(frozen=True)
class DayTables:
    """Ids of both tables, which have the same rows in the same order."""

    audio: str
    metadata: str


@dataclass(frozen=True)
class DayTotals:
    """What a day has."""

    segments: int
    sessions: int
    hours: float


@dataclass
class _StoredShard:
    """A shard of the day before the change."""

    audio: Shard
    metadata: Shard
    size_bytes: int
    groups: Mapping[str, Sequence[int]]
    """Session → the row groups with its rows."""
    rows: int
    counted: int

    def is_rewritten(self, sizes: ShardSizes) -> bool:
        return self.size_bytes < sizes.small_bytes or 2 * self.counted < self.rows


def write_day(
    lake: Lake,
    before: DayTables | None,
    segments: Iterable[RecordedSegment],
    dropped: Collection[str],
    folder: Path,
    sizes: ShardSizes | None = None,
) -> tuple[DayTables, DayTotals]:
    """Publish the tables of a day with new segments, and return them.

    Args:
        lake: The lake of the day.
        before: The present tables; None for a new day.
        segments: New segments, sorted by session, number, file name and source. A segment replaces the one with the same id.
        dropped: Sessions whose rows leave the day.
        folder: Empty local folder for unfinished files.
        sizes: Bounds of the shards; by default `SHARD_SIZES`.
    """
    sizes = sizes or SHARD_SIZES
    stored = [] if before is None else _list_shards(lake, before)
    rewritten = [each for each in stored if each.is_rewritten(sizes)]
    kept = [each for each in stored if not each.is_rewritten(sizes)]
    changed: set[str] = set()
    rows = _merge_rows(
        _complete_sessions(lake, segments, kept, changed),
        heapq.merge(*(_read_counted_rows(lake, each.audio, dropped) for each in rewritten), key=_row_sort_key),
    )
    writer = _ShardWriter(lake, folder, sizes.largest_bytes)
    writer.write(drop_erased_rows(lake, rows))
    gone = changed.union(dropped)
    left = [each for each in kept if not each.groups.keys() <= gone]
    if not left and not writer.audio:
        writer.write_shard([], iter(()))
    audio = [each.audio.without(each.groups.keys() & gone) for each in left]
    metadata = [each.metadata.without(each.groups.keys() & gone) for each in left]
    tables = DayTables(
        ShardedTable(_KEY, (*audio, *writer.audio)).save(lake),
        ShardedTable(_KEY, (*metadata, *writer.metadata)).save(lake),
    )
    return tables, count_day(lake, tables.metadata)


def count_day(lake: Lake, metadata: str) -> DayTotals:
    """Count the segments, sessions and hours of a table of metadata."""
    segments, seconds, sessions = 0, 0.0, set[str]()
    for batch in iterate_batches(lake, metadata, [_KEY, "duration_s"]):
        segments += batch.num_rows
        seconds += sum(batch["duration_s"].to_pylist())
        sessions.update(batch[_KEY].unique().to_pylist())
    return DayTotals(segments, len(sessions), round(seconds / 3600, 9))


def _list_shards(lake: Lake, tables: DayTables) -> list[_StoredShard]:
    # Of audio, only the shards of changed sessions are fetched.
    audio, metadata = load_shards(lake, tables.audio, _KEY, by_ranges=True), load_shards(lake, tables.metadata, _KEY)
    found = []
    for one, other in zip(audio.shards, metadata.shards, strict=True):
        groups: dict[str, list[int]] = defaultdict(list)
        file, counted = pq.ParquetFile(lake.fetch_path(other.parquet)), 0
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=[_KEY])
            rows = names.filter(metadata.find_counted(names, other))
            counted += rows.num_rows
            for session in rows[_KEY].unique().to_pylist():
                groups[session].append(group)
        size_bytes = lake.open_ranges(one.parquet).seek(0, io.SEEK_END)
        found.append(_StoredShard(one, other, size_bytes, groups, file.metadata.num_rows, counted))
    return found


def _complete_sessions(
    lake: Lake, segments: Iterable[RecordedSegment], kept: Sequence[_StoredShard], changed: set[str]
) -> Iterator[_Row]:
    """Yield the new segments with the other rows of their sessions in the shards that stay; add the sessions to `changed`."""

    # Sessions and shards are sorted, so the next session is mostly in the same row group.
    @lru_cache(maxsize=_CACHED_ROW_GROUPS)
    def read_group(parquet: str, group: int) -> pa.Table:
        return pq.ParquetFile(lake.fetch_path(parquet)).read_row_group(group)

    def read_session(shard: _StoredShard, session: str) -> Iterator[_Row]:
        for group in shard.groups.get(session, ()):
            table = read_group(shard.audio.parquet, group)
            yield from table.filter(pc.equal(table[_KEY], session)).to_pylist()

    for session, fresh in groupby(segments, key=attrgetter(_KEY)):
        changed.add(session)
        earlier = [read_session(each, session) for each in kept]
        yield from _merge_rows(map(vars, fresh), heapq.merge(*earlier, key=_row_sort_key))


def _read_counted_rows(lake: Lake, shard: Shard, dropped: Collection[str]) -> Iterator[_Row]:
    table = ShardedTable(_KEY, (shard,))
    for batch in open_parquet(lake.fetch_path(shard.parquet)).iter_batches(batch_size=ROW_GROUP_SIZE):
        rows = table.select_counted(batch, shard).to_pylist()
        yield from (row for row in rows if row[_KEY] not in dropped)


def _row_sort_key(row: Mapping[str, Any]) -> tuple[str, int, str, str]:
    return (row[_KEY], row["number"], row["file_name"], row["source"])


def _merge_rows(fresh: Iterator[_Row], earlier: Iterator[_Row]) -> Iterator[_Row]:
    """Merge two sorted streams; of two rows with the same key keep the fresh one.

    A fresh row of the same sound without hints yields to the earlier one: Habla's clean-up may have deleted
    metadata.json before the segments.
    """
    merged = heapq.merge(fresh, earlier, key=_row_sort_key)  # stable: the fresh row is first
    for _, (chosen, *others) in groupby(merged, key=_row_sort_key):
        for row in others:
            if all(chosen[name] is None for name in _HINT_COLUMNS) and row["audio_sha256"] == chosen["audio_sha256"]:
                chosen = row
        yield chosen


def _make_column(rows: Sequence[Mapping[str, Any]], column: pa.Field) -> pa.Array:
    """Return one column of a row group."""
    values = [row[column.name] for row in rows]
    if column.name != "audio":
        return pa.array(values, column.type)
    # A builder of pyarrow would copy the audio several times while it grows.
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.Array.from_buffers(column.type, len(values), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))])


@dataclass
class _ShardWriter:
    """Writes rows into new shards, one row group in memory."""

    lake: Lake
    folder: Path
    largest_bytes: int
    audio: list[Shard] = field(default_factory=list)
    metadata: list[Shard] = field(default_factory=list)

    def write(self, rows: Iterator[_Row]) -> None:
        """Write all rows."""
        chunk = list(islice(rows, ROW_GROUP_SIZE))
        while chunk:
            chunk = self.write_shard(chunk, rows)

    def write_shard(self, chunk: list[_Row], rows: Iterator[_Row]) -> list[_Row]:
        """Write one shard that begins with `chunk`; return the rows that begin the next one."""
        audio, metadata = self.folder / "audio.parquet", self.folder / "metadata.parquet"
        options: Any = {"write_statistics": False, "use_dictionary": ["source", _KEY, "day", "direction"]}
        # FLAC does not compress again.
        compression = {name: "none" if name == "audio" else "zstd" for name in SEGMENT_SCHEMA.names}
        written = 0
        with (
            pq.ParquetWriter(audio, SEGMENT_SCHEMA, compression=compression, **options) as audio_writer,
            pq.ParquetWriter(metadata, SEGMENT_METADATA_SCHEMA, compression="zstd", **options) as metadata_writer,
        ):
            while chunk and written < self.largest_bytes:
                table = pa.table([_make_column(chunk, each) for each in SEGMENT_SCHEMA], schema=SEGMENT_SCHEMA)
                audio_writer.write_table(table)
                metadata_writer.write_table(table.drop_columns(["audio"]))
                written += sum(len(row["audio"]) for row in chunk)
                chunk = list(islice(rows, ROW_GROUP_SIZE))
        self.audio.append(Shard(self.lake.adopt_file(audio)))
        self.metadata.append(Shard(self.lake.adopt_file(metadata)))
        for path in (audio, metadata):
            path.unlink(missing_ok=True)
        return chunk
