"""The usable annotated hours of the whole corpus. A sound counts once, also where copies of a session have it.

The pointer `quality/hours` stores the hours, and a table of the sounds they were added up from. Of a corpus that did not
change only pointers are read; otherwise that table and the days that changed too. The table has the first 64 bits of each
sound's sha256, enough to recognise a copy.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.lake.table import put_table, read_table

_ORIGIN_CHARS: Final = 32
"""Start of a day's object id. A whole id would keep a superseded day from being deleted."""
_SCHEMA: Final = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("sound", pa.uint64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
    ]
)


def corpus_hours(lake: Lake) -> float:
    """Return the usable annotated hours; costs one listing, and one read for each day that changed."""
    values = [pointer.value for pointer in catalogue.CORPUS.read(lake).list_pointers()]
    objects = {value["parquet"][:_ORIGIN_CHARS]: value["parquet"] for value in values if value["counts"]["usable"]}
    inputs = compute_digest(sorted(objects))
    known = lake.read_pointer(catalogue.CORPUS_HOURS)
    if known is not None and known.value["inputs"] == inputs:
        return float(known.value["hours"])
    table = _SCHEMA.empty_table() if known is None else read_table(lake, known.value["sounds"], _SCHEMA.names)
    table = table.filter(pc.is_in(table["origin"], pa.array(objects, pa.string())))
    missing = sorted(objects.keys() - set(pc.unique(table["origin"]).to_pylist()))
    table = pa.concat_tables([table, *(_read_sounds(lake, origin, objects[origin]) for origin in missing)])
    table = table.sort_by([("origin", "ascending"), ("sound", "ascending")])
    once = table.group_by("sound", use_threads=False).aggregate([("duration_s", "max")])
    hours = round((pc.sum(once["duration_s_max"]).as_py() or 0.0) / 3600, 9)
    with suppress(PointerMovedError):  # another process has added up the same days
        value = {"inputs": inputs, "sounds": put_table(lake, table), "hours": hours}
        lake.move_pointer(catalogue.CORPUS_HOURS, value, known)
    return hours


def _read_sounds(lake: Lake, origin: str, object_id: str) -> pa.Table:
    """Return the distinct sounds of a day's usable segments."""
    rows = read_table(lake, object_id, ["audio_sha256", "duration_s", "problem"])
    usable = rows.filter(pc.is_null(rows["problem"]))
    durations = dict(zip(usable["audio_sha256"].to_pylist(), usable["duration_s"].to_pylist(), strict=True))
    columns = {
        "origin": pa.repeat(origin, len(durations)),
        "sound": pa.array([int(each[:16], 16) for each in durations], pa.uint64()),
        "duration_s": pa.array(durations.values(), pa.float64()),
    }
    return pa.table(columns, schema=_SCHEMA)
