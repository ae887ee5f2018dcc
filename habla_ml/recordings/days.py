"""Publish one day of recordings: merge new rows with the rows in the lake.

A row stays in the lake when Habla deletes its folder: a row that is not read again is copied from the day's previous
object. Both inputs are sorted, so memory holds one row group whatever the day's size. The pointer `recordings/<day>`
moves by compare-and-set once both objects are durable.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.consent import admission
from habla_ml.consent.admission import Consents, WithheldState, merge_withheld
from habla_ml.consent.tombstones import drop_erased_rows
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, PointerReader, catalogue
from habla_ml.recordings.segments import ROW_GROUP_SIZE, SEGMENT_METADATA_SCHEMA, SEGMENT_SCHEMA, RecordedSegment
from habla_ml.recordings.sessions import Skipped
from habla_ml.scratch import make_scratch_folder

_HINT_COLUMNS = ("recorded_at", "speaker", "direction", "machine_text", "machine_confidence", "asr_status")


@dataclass(frozen=True)
class RawStream:
    """An archived raw stream."""

    object_id: str
    size_bytes: int | None
    """None in the pointers of earlier versions."""


@dataclass(frozen=True)
class PublishedDay(WithheldState):
    """A day of recordings in the lake, from its pointer."""

    day: str
    parquet: str
    """Object id of the rows with audio."""
    metadata: str
    """Object id of the same rows without audio; stored as `facts`."""
    inputs: Mapping[str, str]
    """Session → fingerprint of its files and, after a space, the stat signature of its settled folder."""
    set_aside: str
    """Object id of the JSON list of skipped inputs."""
    segments: int
    sessions: int
    hours: float
    raw_streams: Mapping[str, tuple[RawStream, ...]] = field(default_factory=dict)
    """Session → the browser's raw streams, if `recordings.keep_raw_stream` is on. A session has several where a second
    Start overwrote the first stream."""


@dataclass
class DayUpdate:
    """The result of reading sessions, complete once their segments are exhausted."""

    inputs: dict[str, str] = field(default_factory=dict)
    skipped_inputs: list[Skipped] = field(default_factory=list)
    raw_streams: dict[str, tuple[RawStream, ...]] = field(default_factory=dict)
    """Session → all its streams, those of earlier reads included."""
    dropped: Collection[str] = ()
    """Sessions whose rows leave the day."""
    withheld: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Session → claims that withhold its segments."""
    consents: str = ""
    """Signature of the consents under which the sessions were read."""


def load_day(pointers: PointerReader, day: str) -> PublishedDay | None:
    """Return the day in the lake, or None."""
    pointer = pointers.read_pointer(catalogue.RECORDINGS.name(day))
    return None if pointer is None else _parse_pointer(pointer.value, day)


def find_metadata_id(pointers: PointerReader, day: str) -> str | None:
    """Return the object id of the day's segment metadata, or None; a tick asks for it without parsing the day."""
    pointer = pointers.read_pointer(catalogue.RECORDINGS.name(day))
    return None if pointer is None else pointer.value["facts"]


def same_fingerprint(first: str | None, second: str) -> bool:
    """Return whether two input signatures are of the same files, whatever the stat signature of the folder."""
    return first is not None and first.partition(" ")[0] == second.partition(" ")[0]


def update_input_signatures(lake: Lake, day: str, inputs: Mapping[str, str]) -> None:
    """Record updated stat signatures of unchanged sessions. If another process moved the pointer first, skip."""
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    if pointer is None:
        return
    known = pointer.value["inputs"]
    same = {name: signature for name, signature in inputs.items() if same_fingerprint(known.get(name), signature)}
    try:
        lake.move_pointer(pointer.name, {**pointer.value, "inputs": {**known, **same}}, pointer)
    except PointerMovedError:
        return


def requeue_newly_consented_sessions(lake: Lake, published: PublishedDay, consents: Consents) -> PublishedDay:
    """Return the day with its newly consented sessions marked as not read, with the errors of `Consents`."""
    value = admission.requeue_newly_consented(lake, catalogue.RECORDINGS.name(published.day), published, consents)
    return published if value is None else _parse_pointer(value, published.day)


def read_skipped_inputs(lake: Lake, object_id: str) -> tuple[Skipped, ...]:
    """Return the skipped inputs of a day or a table."""
    return tuple(Skipped(**each) for each in lake.get_json(object_id))


def put_skipped_inputs(lake: Lake, skipped_inputs: Iterable[Skipped]) -> str:
    """Store a sorted list of skipped inputs; return its object id."""
    once = sorted(set(skipped_inputs), key=lambda each: (each.session, each.file, each.reason))
    return lake.put_json([asdict(each) for each in once])


def publish_day(
    lake: Lake, day: str, segments: Iterable[RecordedSegment], work_folder: Path, update: DayUpdate | None = None
) -> PublishedDay:
    """Merge new segments into the day and move its pointer.

    Args:
        lake: The lake of the day.
        day: The day, `YYYY-MM-DD`.
        segments: New segments, sorted by session, number, file name and source. A segment replaces the one with the same id.
        work_folder: Local folder for unfinished files.
        update: The sessions that the segments are from. Only `dropped` is read before `segments` is exhausted. Skipped
            inputs of other sessions stay.

    Raises:
        PointerMovedError: Another process published the day in the meantime. Run again.
        LakeError: Nothing can be written. Nothing was published.
    """
    update = update or DayUpdate()
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    before = None if pointer is None else _parse_pointer(pointer.value, day)
    dropped = frozenset(update.dropped)
    kept = iter(()) if before is None else _read_kept_rows(lake.fetch_path(before.parquet), dropped)
    try:
        with make_scratch_folder(work_folder, "recordings") as folder:
            audio, metadata = folder / "audio.parquet", folder / "metadata.parquet"
            totals = _write_tables(drop_erased_rows(lake, _merge_rows(segments, kept)), audio, metadata)
            audio_id, metadata_id = lake.adopt_file(audio), lake.adopt_file(metadata)
    except OSError as error:
        raise LakeError(
            f"day {day} cannot be written below {work_folder}: {error.strerror or error}; nothing was published. "
            "Free some space or name another work_folder, then run again"
        ) from error
    earlier = () if before is None else read_skipped_inputs(lake, before.set_aside)
    others = [each for each in earlier if each.session not in update.inputs]
    value: dict[str, Any] = {
        "parquet": audio_id,
        "facts": metadata_id,
        "inputs": {**(before.inputs if before else {}), **update.inputs},
        "set_aside": put_skipped_inputs(lake, [*others, *update.skipped_inputs]),
        **totals,
    }
    streams = {**(before.raw_streams if before else {}), **update.raw_streams}
    if kept_streams := {name: each for name, each in streams.items() if name not in dropped}:
        value["raw_streams"] = {name: [asdict(each) for each in listed] for name, listed in kept_streams.items()}
    value = merge_withheld(value, before, update.inputs, update.withheld, update.consents)
    return _parse_pointer(lake.move_pointer(catalogue.RECORDINGS.name(day), value, pointer).value, day)


def _parse_pointer(value: Mapping[str, Any], day: str) -> PublishedDay:
    others = {key: each for key, each in value.items() if key not in ("facts", "raw_streams")}
    streams = {name: _parse_streams(each) for name, each in value.get("raw_streams", {}).items()}
    return PublishedDay(day=day, metadata=value["facts"], raw_streams=streams, **others)


def _parse_streams(value: Any) -> tuple[RawStream, ...]:
    """Return the streams of a session; earlier versions stored the id of the only one."""
    return (RawStream(value, None),) if isinstance(value, str) else tuple(RawStream(**each) for each in value)


def drop_raw_streams(streams: Mapping[str, Any], object_ids: Collection[str]) -> dict[str, Any]:
    """Return the `raw_streams` of a day's pointer without these objects; the other entries stay as they are."""
    kept = {}
    for name, value in streams.items():
        listed = _parse_streams(value)
        left = [asdict(each) for each in listed if each.object_id not in object_ids]
        if left:
            kept[name] = value if len(left) == len(listed) else left
    return kept


def _read_kept_rows(path: Path, dropped: frozenset[str]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=ROW_GROUP_SIZE):
        yield from (row for row in batch.to_pylist() if row["session_id"] not in dropped)


def _row_sort_key(row: Mapping[str, Any]) -> tuple[str, int, str, str]:
    return (row["session_id"], row["number"], row["file_name"], row["source"])


def _merge_rows(fresh: Iterable[RecordedSegment], kept: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Merge two sorted streams; of two rows with the same key keep the fresh one.

    A fresh row of the same sound without hints yields to the kept one: Habla's clean-up may have deleted metadata.json
    before the segments.
    """
    merged = heapq.merge(map(vars, fresh), kept, key=_row_sort_key)  # stable: the fresh row is first
    for _, (chosen, *others) in groupby(merged, key=_row_sort_key):
        for row in others:
            if all(chosen[name] is None for name in _HINT_COLUMNS) and row["audio_sha256"] == chosen["audio_sha256"]:
                chosen = row
        yield chosen


def _make_column(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    """Return one column of a row group."""
    values = [row[field.name] for row in rows]
    if field.name != "audio":
        return pa.array(values, field.type)
    # A builder of pyarrow would copy the audio several times while it grows.
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.Array.from_buffers(field.type, len(values), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))])


def _write_tables(rows: Iterator[dict[str, Any]], audio: Path, metadata: Path) -> dict[str, Any]:
    """Write both tables, one row group at a time; return the pointer's totals."""
    segments, seconds = 0, 0.0
    sessions: set[str] = set()
    options: Any = {"write_statistics": False, "use_dictionary": ["source", "session_id", "day", "direction"]}
    # FLAC does not compress again.
    compression = {name: "none" if name == "audio" else "zstd" for name in SEGMENT_SCHEMA.names}
    with (
        pq.ParquetWriter(audio, SEGMENT_SCHEMA, compression=compression, **options) as audio_writer,
        pq.ParquetWriter(metadata, SEGMENT_METADATA_SCHEMA, compression="zstd", **options) as metadata_writer,
    ):
        while chunk := list(islice(rows, ROW_GROUP_SIZE)):
            table = pa.table([_make_column(chunk, each) for each in SEGMENT_SCHEMA], schema=SEGMENT_SCHEMA)
            audio_writer.write_table(table)
            metadata_writer.write_table(table.drop_columns(["audio"]))
            segments += len(chunk)
            seconds += sum(row["duration_s"] for row in chunk)
            sessions.update(row["session_id"] for row in chunk)
    return {"segments": segments, "sessions": len(sessions), "hours": round(seconds / 3600, 9)}
