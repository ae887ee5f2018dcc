"""Publishing one day of recordings: new rows merged with what the lake already holds.

What was ingested once stays, though Habla deletes its folders by itself: a row that is not read again is taken
over from the day's previous object. Both sides come sorted, so memory holds one row group whatever the day's size.
The pointer `recordings/<day>` moves by compare-and-set after both objects are durable.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.errors import LakeError
from habla_ml.lake import Lake, Pointer
from habla_ml.recordings.segments import FACTS_SCHEMA, ROW_GROUP, SCHEMA, Segment, segment_row
from habla_ml.recordings.sessions import SetAside


@dataclass(frozen=True)
class PublishedDay:
    """A day of recordings in the lake, as its pointer says."""

    day: str
    parquet: str
    """Object id of the rows with audio."""
    facts: str
    """Object id of the same rows without audio."""
    inputs: Mapping[str, str]
    """Session → fingerprint of the files it was read from."""
    set_aside: str
    """Object id of the JSON list of what was set aside."""
    segments: int
    sessions: int
    hours: float


def recordings_pointer(day: str) -> str:
    """Name of the pointer of one day's recordings."""
    return f"recordings/{day}"


def load_day(lake: Lake, day: str) -> PublishedDay | None:
    """What the lake holds of `day`, or None."""
    pointer = lake.pointer(recordings_pointer(day))
    return None if pointer is None else _of(pointer, day)


def read_set_aside(lake: Lake, object_id: str) -> tuple[SetAside, ...]:
    """The list that a day's or a table's pointer names."""
    return tuple(SetAside(**each) for each in lake.get_json(object_id))


def put_set_aside(lake: Lake, set_aside: Iterable[SetAside]) -> str:
    """Publish a list of what was set aside, sorted; returns its object id."""
    return lake.put_json([asdict(each) for each in sorted(set_aside, key=lambda s: (s.session, s.file, s.reason))])


def publish_day(
    lake: Lake,
    day: str,
    fresh: Iterable[Segment],
    inputs: Mapping[str, str],
    set_aside: list[SetAside],
    work_folder: Path,
    dropped: Collection[str] = (),
) -> PublishedDay:
    """Merge `fresh` rows into the day and move its pointer.

    Args:
        lake: where the day is published.
        day: the day, `YYYY-MM-DD`.
        fresh: rows read now, sorted by `Segment.order`; a row of the same id replaces the one in the lake.
        inputs: fingerprints of the sessions read now; they are added to the ones known.
        set_aside: what was set aside among these sessions; read after `fresh` is exhausted, so that reading may
            add to it. Earlier entries of other sessions stay.
        work_folder: a local folder for the unfinished files.
        dropped: sessions whose rows leave the day.

    Raises:
        PointerMovedError: somebody else published the day in the meantime; run again.
        LakeError: nothing could be written; nothing was published.
    """
    pointer = lake.pointer(recordings_pointer(day))
    before = None if pointer is None else _of(pointer, day)
    kept = iter(()) if before is None else _rows(lake.path_of(before.parquet), frozenset(dropped))
    try:
        work_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work_folder, prefix="recordings-") as folder:
            audio, facts = Path(folder) / "audio.parquet", Path(folder) / "facts.parquet"
            totals = _write(_merged(fresh, kept), audio, facts)
            parquet_id, facts_id = lake.put_file(audio), lake.put_file(facts)
    except OSError as error:
        raise LakeError(
            f"day {day} cannot be written below {work_folder}: {error.strerror or error}; nothing was published. "
            "Free some space or name another work_folder, then run again"
        ) from error
    earlier = () if before is None else read_set_aside(lake, before.set_aside)
    value: dict[str, Any] = {
        "parquet": parquet_id,
        "facts": facts_id,
        "inputs": {**(before.inputs if before else {}), **inputs},
        "set_aside": put_set_aside(lake, [*(each for each in earlier if each.session not in inputs), *set_aside]),
        **totals,
    }
    return _of(lake.move_pointer(recordings_pointer(day), value, pointer), day)


def _of(pointer: Pointer, day: str) -> PublishedDay:
    return PublishedDay(day=day, **pointer.value)


def _rows(path: Path, dropped: frozenset[str]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=ROW_GROUP):
        yield from (row for row in batch.to_pylist() if row["session_id"] not in dropped)


def _order(row: Mapping[str, Any]) -> tuple[str, int, str, str]:
    return (row["session_id"], row["number"], row["file_name"], row["source"])


def _merged(fresh: Iterable[Segment], kept: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Both streams in order; of two rows with one key the fresh one (`merge` is stable, it comes first)."""
    last = None
    for row in heapq.merge(map(segment_row, fresh), kept, key=_order):
        if (key := _order(row)) != last:
            last = key
            yield row


def _write(rows: Iterator[dict[str, Any]], audio: Path, facts: Path) -> dict[str, Any]:
    """Write both tables, one row group at a time; returns the pointer's totals."""
    segments, seconds = 0, 0.0
    sessions: set[str] = set()
    options: dict[str, Any] = {
        "write_statistics": False,
        "use_dictionary": ["source", "session_id", "day", "direction"],
    }
    # FLAC does not compress again; everything else does.
    compression = {name: "none" if name == "audio" else "zstd" for name in SCHEMA.names}
    with (
        pq.ParquetWriter(audio, SCHEMA, compression=compression, **options) as audio_writer,
        pq.ParquetWriter(facts, FACTS_SCHEMA, compression="zstd", **options) as facts_writer,
    ):
        while chunk := list(islice(rows, ROW_GROUP)):
            table = pa.Table.from_pylist(chunk, schema=SCHEMA)
            audio_writer.write_table(table)
            facts_writer.write_table(table.drop_columns(["audio"]))
            segments += len(chunk)
            seconds += sum(row["duration_s"] for row in chunk)
            sessions.update(row["session_id"] for row in chunk)
    return {"segments": segments, "sessions": len(sessions), "hours": round(seconds / 3600, 9)}
