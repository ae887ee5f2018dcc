"""The append-only log of annotation events, one immutable object a day of recording.

Appending reads the day, adds what is new and moves the pointer `annotations/<day>` by compare-and-set. An event
that repeats what the same source and person last said of that segment, in the same round, is not new: Habla rewrites
its file whole at every save, and a save that changes nothing must leave no trace.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.events import SCHEMA, AnnotationEvent
from habla_ml.consent.admission import merge_withheld
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import Skipped, read_skipped_inputs
from habla_ml.recordings.days import put_skipped_inputs


@dataclass(frozen=True)
class DayEventLog:
    """The log of one day, as its pointer says."""

    day: str
    parquet: str
    """Object id of the table of events."""
    inputs: Mapping[str, str]
    """What was read (a session, a table) → fingerprint of the file it was read from."""
    set_aside: str
    """Object id of the JSON list of what was set aside."""
    events: int
    withheld: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Session → the claims by which something that was said of it waits for a consent."""
    consents: str = ""
    """Under which consents that waits, as `Consents.signature` tells; empty where sessions were read under several."""
    added: int = 0
    """Events that this call added."""


def load_events(lake: Lake, day: str) -> DayEventLog | None:
    """What the log holds of `day`, or None."""
    pointer = lake.read_pointer(catalogue.ANNOTATIONS.name(day))
    return None if pointer is None else DayEventLog(day=day, **pointer.value)


def read_events(lake: Lake, day: DayEventLog) -> list[AnnotationEvent]:
    """The events of a day, by segment and time."""
    table = read_event_table(lake, day.parquet).drop_columns(["event_id"])
    return [AnnotationEvent(**row) for row in table.to_pylist()]


def read_event_table(lake: Lake, object_id: str, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
    """The table of events, sorted by segment, time and id; columns that its writer did not know yet are empty.

    Args:
        lake: where the table is.
        object_id: of the table.
        columns: what is read of it.
    """
    file = pq.ParquetFile(io.BytesIO(lake.get_bytes(object_id)))
    table = file.read([name for name in columns if name in file.schema_arrow.names])
    for column in map(SCHEMA.field, columns):
        if column.name not in table.column_names:
            nothing = "" if pa.types.is_string(column.type) else 0
            table = table.append_column(column, pa.array([nothing] * table.num_rows, column.type))
    return table.select(list(columns))


def append_events(
    lake: Lake,
    day: str,
    events: Iterable[AnnotationEvent],
    inputs: Mapping[str, str],
    skipped_inputs: Iterable[Skipped] = (),
    withheld: Mapping[str, Collection[str]] | None = None,
    consents: str = "",
) -> DayEventLog:
    """Add what is new among `events` to the log of `day`; what is said of erased segments is not taken.

    Args:
        lake: where the log is.
        day: the day of recording of every event.
        events: events in any order, repeated or not.
        inputs: fingerprints of what they were read from; added to the ones known.
        skipped_inputs: what could not become an event; replaces earlier entries of the same inputs.
        withheld: the claims by which something that was said of a session in `inputs` waits for a consent.
        consents: the note of the consents under which `inputs` were read.

    Raises:
        PointerMovedError: somebody else appended in the meantime; run again, nothing is lost.
    """
    pointer = lake.read_pointer(catalogue.ANNOTATIONS.name(day))
    before = None if pointer is None else DayEventLog(day=day, **pointer.value)
    present = SCHEMA.empty_table() if before is None else read_event_table(lake, before.parquet)
    erased = read_tombstones(lake).segments
    added = _select_new_events(present, [each for each in events if each.segment_id not in erased])
    table = pa.concat_tables([present, pa.Table.from_pylist([each.row() for each in added], schema=SCHEMA)])
    table = table.sort_by([(key, "ascending") for key in ("segment_id", "created_at", "event_id")])
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=65_536)
    earlier = () if before is None else read_skipped_inputs(lake, before.set_aside)
    value = {
        "parquet": lake.put_bytes(out.getvalue()),
        "inputs": {**(before.inputs if before else {}), **inputs},
        "set_aside": put_skipped_inputs(
            lake, [*(each for each in earlier if each.session not in inputs), *skipped_inputs]
        ),
        "events": table.num_rows,
    }
    value = merge_withheld(value, before, inputs, withheld or {}, consents)
    moved = lake.move_pointer(catalogue.ANNOTATIONS.name(day), value, pointer)
    return DayEventLog(day=day, added=len(added), **moved.value)


def _select_new_events(present: pa.Table, events: list[AnnotationEvent]) -> list[AnnotationEvent]:
    """The events that say something else than their author's last word on the segment before them."""
    concerned = pa.array(sorted({each.segment_id for each in events}), pa.string())
    known = present.filter(pc.is_in(present["segment_id"], concerned))
    taken = set(known["event_id"].to_pylist())
    words: dict[tuple[str, str, str], list[tuple[datetime, int, tuple[str, str, str]]]] = defaultdict(list)
    for row in known.drop_columns(["event_id"]).to_pylist():
        event = AnnotationEvent(**row)
        words[event.segment_id, event.source, event.person].append((event.created_at, event.round, event.answer))
    added = []
    for event in sorted(events, key=lambda each: (each.created_at, each.event_id)):
        history = words[event.segment_id, event.source, event.person]
        at = bisect_right(history, event.created_at, key=lambda word: word[0])
        if event.event_id in taken or (at and history[at - 1][1:] == (event.round, event.answer)):
            continue
        taken.add(event.event_id)
        history.insert(at, (event.created_at, event.round, event.answer))
        added.append(event)
    return added
