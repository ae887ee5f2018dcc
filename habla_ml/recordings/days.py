"""Publishing one day of recordings: new rows merged with what the lake already holds.

What was ingested once stays, though Habla deletes its folders by itself: a row that is not read again is taken
over from the day's previous object. Both sides come sorted, so memory holds one row group whatever the day's size.
The pointer `recordings/<day>` moves by compare-and-set after both objects are durable.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.consent import admission
from habla_ml.consent.admission import Consents, merge_withheld
from habla_ml.consent.tombstones import drop_erased_rows
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.recordings.segments import (
    ROW_GROUP_SIZE,
    SEGMENT_METADATA_SCHEMA,
    SEGMENT_SCHEMA,
    RecordedSegment,
    to_segment_row,
)
from habla_ml.recordings.sessions import Skipped

_HINT_COLUMNS = ("recorded_at", "speaker", "direction", "machine_text", "machine_confidence", "asr_status")


@dataclass(frozen=True)
class PublishedDay:
    """A day of recordings in the lake, as its pointer says."""

    day: str
    parquet: str
    """Object id of the rows with audio."""
    facts: str
    """Object id of the same rows without audio."""
    inputs: Mapping[str, str]
    """Session → fingerprint of the files it was read from and, after a space, the stat_signature of its settled folder."""
    set_aside: str
    """Object id of the JSON list of what was set aside."""
    segments: int
    sessions: int
    hours: float
    raw_streams: Mapping[str, str] = field(default_factory=dict)
    """Session → object id of the browser's undivided stream, where `recordings.keep_raw_stream` asked for it."""
    withheld: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Session → the claims (`digest_claim`) by which something of it waits for a consent."""
    consents: str = ""
    """Under which consents that waits, as `Consents.signature` tells; empty where sessions were read under several."""


def load_day(lake: Lake, day: str) -> PublishedDay | None:
    """What the lake holds of `day`, or None."""
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    return None if pointer is None else _parse_pointer(pointer, day)


def same_fingerprint(noted: str | None, present: str) -> bool:
    """Whether two notes of a session are of the same files, whatever its folder's stat_signature."""
    return noted is not None and noted.partition(" ")[0] == present.partition(" ")[0]


def update_input_signatures(lake: Lake, day: str, inputs: Mapping[str, str]) -> None:
    """Note new glances of sessions whose files are as published; where somebody else moves the day, they do it."""
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    if pointer is None:
        return
    known = pointer.value["inputs"]
    same = {name: noted for name, noted in inputs.items() if same_fingerprint(known.get(name), noted)}
    try:
        lake.move_pointer(pointer.name, {**pointer.value, "inputs": {**known, **same}}, pointer)
    except PointerMovedError:
        return


def requeue_newly_consented_sessions(lake: Lake, published: PublishedDay, consents: Consents) -> PublishedDay:
    """The day as it is to be looked at: sessions of which something withheld may come in now count as not read.

    Raises:
        InputError: the register cannot be read.
    """
    value = admission.requeue_newly_consented(lake, catalogue.RECORDINGS.name(published.day), published, consents)
    return published if value is None else PublishedDay(day=published.day, **value)


def read_skipped_inputs(lake: Lake, object_id: str) -> tuple[Skipped, ...]:
    """The list that a day's or a table's pointer names."""
    return tuple(Skipped(**each) for each in lake.get_json(object_id))


def put_skipped_inputs(lake: Lake, skipped_inputs: Iterable[Skipped]) -> str:
    """Publish a list of what was set aside, sorted; returns its object id."""
    once = sorted(set(skipped_inputs), key=lambda each: (each.session, each.file, each.reason))
    return lake.put_json([asdict(each) for each in once])


def publish_day(
    lake: Lake,
    day: str,
    fresh: Iterable[RecordedSegment],
    inputs: Mapping[str, str],
    skipped_inputs: list[Skipped],
    work_folder: Path,
    dropped: Collection[str] = (),
    raw_streams: Mapping[str, str] | None = None,
    withheld: Mapping[str, Collection[str]] | None = None,
    consents: str = "",
) -> PublishedDay:
    """Merge `fresh` rows into the day and move its pointer.

    Args:
        lake: where the day is published.
        day: the day, `YYYY-MM-DD`.
        fresh: rows read now, sorted by `RecordedSegment.sort_key`; a row of the same id replaces the one in the lake.
        inputs: what to note of the sessions read now, beside the ones known; read after `fresh` is exhausted.
        skipped_inputs: what was set aside among these sessions; read after `fresh` is exhausted, so that reading may
            add to it. Earlier entries of other sessions stay.
        work_folder: a local folder for the unfinished files.
        dropped: sessions whose rows leave the day.
        raw_streams: archived streams by session, read after `fresh` is exhausted.
        withheld: the claims by which something of a session waits for a consent, read after `fresh` is exhausted.
        consents: the note of the consents under which the sessions were read.

    Raises:
        PointerMovedError: somebody else published the day in the meantime; run again.
        LakeError: nothing could be written; nothing was published.
    """
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    before = None if pointer is None else _parse_pointer(pointer, day)
    kept = iter(()) if before is None else _read_kept_rows(lake.fetch_path(before.parquet), frozenset(dropped))
    try:
        work_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work_folder, prefix="recordings-") as folder:
            audio, facts = Path(folder) / "audio.parquet", Path(folder) / "facts.parquet"
            totals = _write_tables(drop_erased_rows(lake, _merge_rows(fresh, kept)), audio, facts)
            parquet_id, facts_id = lake.put_file(audio), lake.put_file(facts)
    except OSError as error:
        raise LakeError(
            f"day {day} cannot be written below {work_folder}: {error.strerror or error}; nothing was published. "
            "Free some space or name another work_folder, then run again"
        ) from error
    earlier = () if before is None else read_skipped_inputs(lake, before.set_aside)
    value: dict[str, Any] = {
        "parquet": parquet_id,
        "facts": facts_id,
        "inputs": {**(before.inputs if before else {}), **inputs},
        "set_aside": put_skipped_inputs(
            lake, [*(each for each in earlier if each.session not in inputs), *skipped_inputs]
        ),
        **totals,
    }
    streams = {**(before.raw_streams if before else {}), **(raw_streams or {})}
    if kept_streams := {name: each for name, each in streams.items() if name not in dropped}:
        value["raw_streams"] = kept_streams
    value = merge_withheld(value, before, inputs, withheld or {}, consents)
    return _parse_pointer(lake.move_pointer(catalogue.RECORDINGS.name(day), value, pointer), day)


def _parse_pointer(pointer: Pointer, day: str) -> PublishedDay:
    return PublishedDay(day=day, **pointer.value)


def _read_kept_rows(path: Path, dropped: frozenset[str]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=ROW_GROUP_SIZE):
        yield from (row for row in batch.to_pylist() if row["session_id"] not in dropped)


def _row_sort_key(row: Mapping[str, Any]) -> tuple[str, int, str, str]:
    return (row["session_id"], row["number"], row["file_name"], row["source"])


def _merge_rows(fresh: Iterable[RecordedSegment], kept: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Both streams in order; of two rows with one key the fresh one (`merge` is stable, it comes first).

    A fresh row of the same sound without any hint yields to the kept one: Habla's clean-up may have taken
    metadata.json before the segments.
    """
    chosen: dict[str, Any] | None = None
    for row in heapq.merge(map(to_segment_row, fresh), kept, key=_row_sort_key):
        if chosen is not None and _row_sort_key(row) == _row_sort_key(chosen):
            if _has_no_hints(chosen) and row["audio_sha256"] == chosen["audio_sha256"]:
                chosen = row
            continue
        if chosen is not None:
            yield chosen
        chosen = row
    if chosen is not None:
        yield chosen


def _has_no_hints(row: Mapping[str, Any]) -> bool:
    return all(row[name] is None for name in _HINT_COLUMNS)


def _write_tables(rows: Iterator[dict[str, Any]], audio: Path, facts: Path) -> dict[str, Any]:
    """Write both tables, one row group at a time; returns the pointer's totals."""
    segments, seconds = 0, 0.0
    sessions: set[str] = set()
    options: dict[str, Any] = {
        "write_statistics": False,
        "use_dictionary": ["source", "session_id", "day", "direction"],
    }
    # FLAC does not compress again; everything else does.
    compression = {name: "none" if name == "audio" else "zstd" for name in SEGMENT_SCHEMA.names}
    with (
        pq.ParquetWriter(audio, SEGMENT_SCHEMA, compression=compression, **options) as audio_writer,
        pq.ParquetWriter(facts, SEGMENT_METADATA_SCHEMA, compression="zstd", **options) as facts_writer,
    ):
        while chunk := list(islice(rows, ROW_GROUP_SIZE)):
            table = pa.Table.from_pylist(chunk, schema=SEGMENT_SCHEMA)
            audio_writer.write_table(table)
            facts_writer.write_table(table.drop_columns(["audio"]))
            segments += len(chunk)
            seconds += sum(row["duration_s"] for row in chunk)
            sessions.update(row["session_id"] for row in chunk)
    return {"segments": segments, "sessions": len(sessions), "hours": round(seconds / 3600, 9)}
