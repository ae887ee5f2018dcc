"""The usable annotated hours of the whole corpus. A sound counts once, also where copies of a session have it.

The pointer `quality/hours` stores the hours, and the parts of a table of the sounds they were added up from. Of a corpus
that did not change only pointers are read. Otherwise memory follows the sounds of the changed days: the other sounds are
read once, to find copies. The table has the first 64 bits of each sound's sha256, enough to recognise a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue, compute_digest
from habla_ml.lake.database import ScratchDatabase, open_scratch_database
from habla_ml.lake.shards import iterate_batches
from habla_ml.lake.table import write_table
from habla_ml.scratch import make_scratch_folder

_ORIGIN_CHARS: Final = 32
"""Start of a day's object id. A whole id would keep a superseded day from being deleted."""
_PART_ROWS: Final = 262_144
"""A part in which fewer rows count is written again with the next change."""
_NS_PER_HOUR: Final = 3_600_000_000_000
_SCHEMA: Final = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("sound", pa.uint64(), nullable=False),
        pa.field("duration_ns", pa.int64(), nullable=False),
    ]
)
_DAY_SCHEMA: Final = pa.schema([("origin", pa.string()), ("audio_sha256", pa.string()), ("duration_s", pa.float64())])
_TABLES: Final = """
CREATE TABLE changed (origin VARCHAR, sound UBIGINT, duration_ns BIGINT, is_new BOOLEAN);
CREATE TABLE written (origin VARCHAR, sound UBIGINT, duration_ns BIGINT);
"""
# Durations are whole nanoseconds, so their sum depends on no order: a sample at 16 kHz has 62,500 of them.
_ADD_DAYS: Final = """
INSERT INTO changed
SELECT origin, ('0x' || audio_sha256[1:16])::UBIGINT AS sound, max(round(duration_s * 1e9)::BIGINT), TRUE FROM batches
GROUP BY origin, sound
"""
_SUM_CHANGE: Final = """
WITH sounds AS (
    SELECT sound, max(duration_ns) FILTER (is_new) AS added, max(duration_ns) FILTER (NOT is_new) AS removed
    FROM changed GROUP BY sound)
SELECT coalesce(sum(coalesce(greatest(added, kept), 0) - coalesce(greatest(removed, kept), 0)), 0)
FROM sounds LEFT JOIN others USING (sound)
"""


@dataclass(frozen=True)
class _Part:
    """A parquet object of the table of sounds."""

    parquet: str
    rows: Mapping[str, int]
    """Origin → its rows, of the origins that count."""

    def select(self, origins: Collection[str]) -> _Part:
        """Return the part with some of its origins alone."""
        return _Part(self.parquet, {origin: rows for origin, rows in self.rows.items() if origin in origins})


def corpus_hours(lake: Lake) -> float:
    """Return the usable annotated hours; costs one listing, and the sounds of the corpus if a day changed.

    Raises:
        LakeError: A day or a part of the table cannot be read, or the scratch space is full.
    """
    values = [pointer.value for pointer in catalogue.CORPUS.read(lake).list_pointers()]
    objects = {value["parquet"][:_ORIGIN_CHARS]: value["parquet"] for value in values if value["counts"]["usable"]}
    inputs = compute_digest(sorted(objects))
    known = lake.read_pointer(catalogue.CORPUS_HOURS)
    if known is not None and known.value["inputs"] == inputs:
        return float(known.value["hours"])
    parts, duration_ns = _load_sum(known)
    kept = [each for part in parts if (each := part.select(objects)).rows]
    small = [part for part in kept if sum(part.rows.values()) < _PART_ROWS]
    with open_scratch_database(lake.work_folder) as database:
        duration_ns += _sum_change(lake, database, parts, kept, objects)
        database.load("INSERT INTO written FROM batches", _iterate_rows(lake, small), _SCHEMA)
        parts = [*(part for part in kept if part not in small), *_write_part(lake, database)]
    hours = round(duration_ns / _NS_PER_HOUR, 9)
    with suppress(PointerMovedError):  # another process has added up the same days
        value = {"inputs": inputs, "hours": hours, "nanoseconds": duration_ns, "parts": [*map(asdict, parts)]}
        lake.move_pointer(catalogue.CORPUS_HOURS, value, known)
    return hours


def _load_sum(known: Pointer | None) -> tuple[list[_Part], int]:
    """Return the parts of the table and the sum of its sounds; those of an earlier version of habla_ml do not count."""
    if known is None or "parts" not in known.value:
        return [], 0
    return [_Part(**each) for each in known.value["parts"]], known.value["nanoseconds"]


def _sum_change(
    lake: Lake, database: ScratchDatabase, parts: Iterable[_Part], kept: Iterable[_Part], objects: Mapping[str, str]
) -> int:
    """Return by how many nanoseconds the sum changes, and leave the new rows in the table `written`.

    `parts` are those of the earlier sum, `kept` the same without the origins that are gone, and `objects` is origin → text
    of a day.
    """
    known = {origin for part in parts for origin in part.rows}
    gone = known - objects.keys()
    database.run(_TABLES)
    removed = _iterate_rows(lake, [each for part in parts if (each := part.select(gone)).rows])
    database.load("INSERT INTO changed SELECT *, FALSE FROM batches", removed, _SCHEMA)
    database.load(
        _ADD_DAYS, _iterate_days(lake, {each: objects[each] for each in objects if each not in known}), _DAY_SCHEMA
    )
    # Not a semi-join: DuckDB does not know how many rows a stream has, and would keep all of them in place of the changed.
    sql = """CREATE TABLE others AS SELECT sound, max(duration_ns) AS kept
        FROM batches WHERE coalesce(sound IN (SELECT sound FROM changed), FALSE) GROUP BY sound"""
    database.load(sql, _iterate_rows(lake, kept), _SCHEMA)
    database.run("INSERT INTO written SELECT origin, sound, duration_ns FROM changed WHERE is_new")
    ((change,),) = database.fetch_rows(_SUM_CHANGE)
    return int(change)


def _iterate_rows(lake: Lake, parts: Iterable[_Part]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the parts' origins."""
    for part in parts:
        origins = pa.array(part.rows, pa.string())
        for batch in iterate_batches(lake, part.parquet, _SCHEMA.names):
            yield batch.filter(pc.is_in(batch["origin"], origins)).cast(_SCHEMA)


def _iterate_days(lake: Lake, objects: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Yield the usable segments of days, with their origin."""
    for origin, object_id in objects.items():
        for batch in iterate_batches(lake, object_id, ["audio_sha256", "duration_s", "problem"]):
            usable = batch.filter(pc.is_null(batch["problem"]))
            columns: list[Any] = [pa.repeat(origin, usable.num_rows), usable["audio_sha256"], usable["duration_s"]]
            yield pa.record_batch(columns, schema=_DAY_SCHEMA)


def _write_part(lake: Lake, database: ScratchDatabase) -> list[_Part]:
    """Store the rows of the table `written`; return their part, or nothing without rows."""
    rows = dict(database.fetch_rows("SELECT origin, count(*) FROM written GROUP BY origin ORDER BY origin"))
    if not rows:
        return []
    batches = database.iterate_batches("FROM written ORDER BY origin, sound")
    with make_scratch_folder(lake.work_folder, "hours") as folder:
        path = folder / "sounds.parquet"
        write_table(path, (pa.Table.from_batches([batch]).cast(_SCHEMA) for batch in batches), _SCHEMA)
        return [_Part(lake.adopt_file(path), rows)]
