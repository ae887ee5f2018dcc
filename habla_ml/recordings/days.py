"""Publish one day of recordings: merge new rows with the rows in the lake.

A row stays in the lake when Habla deletes its folder: a row that is not read again stays in the day's tables
(`habla_ml.recordings.day_tables`). All inputs are sorted, so memory holds one row group whatever the day's size. The
pointer `recordings/<day>` moves by compare-and-set once both tables are durable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from habla_ml.consent import admission
from habla_ml.consent.admission import Admission, Consents, WithheldState, merge_withheld
from habla_ml.consent.tombstones import Tombstones, read_tombstones
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, PointerReader, catalogue
from habla_ml.lake.shards import iterate_batches
from habla_ml.recordings.day_tables import DayTables, write_day
from habla_ml.recordings.segments import RecordedSegment
from habla_ml.recordings.sessions import Skipped
from habla_ml.scratch import make_scratch_folder


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
    """Id of the table of rows with audio."""
    metadata: str
    """Id of the table of the same rows without audio; stored as `facts`."""
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


def has_habla_sessions(lake: Lake) -> bool:
    """Return whether a session of Habla's folder, or a correction there, ever came into the lake."""
    families = (catalogue.RECORDINGS, catalogue.ANNOTATIONS)
    return any(each.value["inputs"] for family in families for each in family.read(lake).list_pointers())


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
    lake: Lake,
    day: str,
    segments: Iterable[RecordedSegment],
    work_folder: Path,
    update: DayUpdate | None = None,
    admitted_by: Admission | None = None,
) -> PublishedDay:
    """Merge new segments into the day and move its pointer.

    Args:
        lake: The lake of the day.
        day: The day, `YYYY-MM-DD`.
        segments: New segments, sorted by session, number, file name and source. A segment replaces the one with the same id.
        work_folder: Local folder for unfinished files.
        update: The sessions that the segments are from. Only `dropped` is read before `segments` is exhausted. Skipped
            inputs of other sessions stay.
        admitted_by: What refused other segments. The tombstones that it wrote meanwhile are of no erasure.

    Raises:
        PointerMovedError: Another process published the day in the meantime, or began to erase a segment of it. Run again.
        LakeError: Nothing can be written. Nothing was published.
    """
    update = update or DayUpdate()
    pointer = lake.read_pointer(catalogue.RECORDINGS.name(day))
    before = None if pointer is None else _parse_pointer(pointer.value, day)
    erased = read_tombstones(lake)
    dropped = frozenset(update.dropped)
    try:
        with make_scratch_folder(work_folder, "recordings") as folder:
            present = None if before is None else DayTables(before.parquet, before.metadata)
            tables, totals = write_day(lake, present, segments, dropped, folder)
    except OSError as error:
        raise LakeError(
            f"day {day} cannot be written below {work_folder}: {error.strerror or error}; nothing was published. "
            "Free some space or name another work_folder, then run again"
        ) from error
    earlier = () if before is None else read_skipped_inputs(lake, before.set_aside)
    others = [each for each in earlier if each.session not in update.inputs]
    value: dict[str, Any] = {
        "parquet": tables.audio,
        "facts": tables.metadata,
        "inputs": {**(before.inputs if before else {}), **update.inputs},
        "set_aside": put_skipped_inputs(lake, [*others, *update.skipped_inputs]),
        **asdict(totals),
    }
    streams = {**(before.raw_streams if before else {}), **update.raw_streams}
    if kept_streams := {name: each for name, each in streams.items() if name not in dropped}:
        value["raw_streams"] = {name: [asdict(each) for each in listed] for name, listed in kept_streams.items()}
    value = merge_withheld(value, before, update.inputs, update.withheld, update.consents)
    _require_no_erasure(lake, day, tables.metadata, erased, admitted_by)
    return _parse_pointer(lake.move_pointer(catalogue.RECORDINGS.name(day), value, pointer).value, day)


def _require_no_erasure(lake: Lake, day: str, metadata: str, before: Tombstones, admitted_by: Admission | None) -> None:
    """Raise `PointerMovedError` if a segment of the table was erased since the tombstones were read `before`.

    The erasure moves the pointers that it finds, and did not find this one. A segment that this process refused is no
    new one: if it is in the table, it was in the day before.
    """
    now = read_tombstones(lake)
    segments, sounds = now.segments - before.segments, now.sounds - before.sounds
    if admitted_by is not None:
        segments, sounds = segments - admitted_by.refused_segment_ids, sounds - admitted_by.refused_audio_sha256
    if not segments and not sounds:
        return
    for batch in iterate_batches(lake, metadata, ["segment_id", "audio_sha256"]):
        for row in batch.to_pylist():
            if row["segment_id"] in segments or row["audio_sha256"] in sounds:
                raise PointerMovedError(f"an erasure began while {day} was written; nothing was published, run again")


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
