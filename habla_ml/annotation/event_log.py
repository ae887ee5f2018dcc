"""The append-only log of annotation events, one immutable object per day of recording.

Appending reads the day, adds the new events and moves the pointer `annotations/<day>` by compare-and-set. An event
that repeats the previous answer of the same source and person for that segment and attempt is not new: Habla rewrites
its whole file at every save, and a save without changes adds nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.events import EVENT_SCHEMA, AnnotationEvent, parse_event
from habla_ml.consent.admission import WithheldState, merge_withheld
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake, PointerReader, catalogue
from habla_ml.lake.table import open_table, put_table
from habla_ml.names import canonical_name
from habla_ml.recordings.days import put_skipped_inputs, read_skipped_inputs
from habla_ml.recordings.sessions import Skipped

_WITHDRAWAL_COLUMNS: Final = ("segment_id", "source", "person", "status")


@dataclass(frozen=True)
class DayEventLog(WithheldState):
    """The log of one day, from its pointer."""

    day: str
    parquet: str
    """Object id of the table of events."""
    inputs: Mapping[str, str]
    """Name of each input (a session, a table) → fingerprint of its file."""
    set_aside: str
    """Object id of the JSON list of skipped inputs."""
    events: int
    added: int = 0


def find_events_id(pointers: PointerReader, day: str) -> str:
    """Return the object id of the day's table of events; empty if it has none."""
    pointer = pointers.read_pointer(catalogue.ANNOTATIONS.name(day))
    return "" if pointer is None else pointer.value["parquet"]


def load_events(pointers: PointerReader, day: str) -> DayEventLog | None:
    """Return the log of `day`, or None."""
    pointer = pointers.read_pointer(catalogue.ANNOTATIONS.name(day))
    return None if pointer is None else DayEventLog(day=day, **pointer.value)


def read_events(lake: Lake, day: DayEventLog) -> list[AnnotationEvent]:
    """Return the events of a day, by segment and time."""
    return [parse_event(row) for row in read_event_table(lake, day.parquet).to_pylist()]


def read_event_table(lake: Lake, object_id: str, columns: Sequence[str] = EVENT_SCHEMA.names) -> pa.Table:
    """Return a table of events, sorted by segment, time and id. Columns that an older writer lacked are empty."""
    file = open_table(lake, object_id)
    table = file.read([name for name in columns if name in file.schema_arrow.names])
    for column in map(EVENT_SCHEMA.field, columns):
        if column.name not in table.column_names:
            empty = None if column.nullable else "" if pa.types.is_string(column.type) else 0
            table = table.append_column(column, pa.array([empty] * table.num_rows, column.type))
    return table.select(list(columns))


def read_valid_events(lake: Lake, object_id: str, columns: Sequence[str] = EVENT_SCHEMA.names) -> pa.Table:
    """Return a table of events like `read_event_table`, without withdrawn answers and the events that withdrew them."""
    table = read_event_table(lake, object_id, list(dict.fromkeys([*columns, *_WITHDRAWAL_COLUMNS])))
    return _drop_withdrawn_answers(table).select(list(columns))


def _drop_withdrawn_answers(table: pa.Table) -> pa.Table:
    withdrawals = table.filter(pc.equal(table["status"], "withdrawn"))
    if not withdrawals.num_rows:
        return table
    affected = pc.is_in(table["segment_id"], withdrawals["segment_id"].combine_chunks())
    at = pc.indices_nonzero(affected)
    rows = table.select(list(_WITHDRAWAL_COLUMNS)).take(at).to_pylist()
    authors = [(row["segment_id"], row["source"], row["person"]) for row in rows]
    # The log is sorted by time within a segment, so the last withdrawal of an author remains.
    last = {author: index for index, author in enumerate(authors) if rows[index]["status"] == "withdrawn"}
    keep = np.ones(table.num_rows, np.bool_)
    keep[[at[index].as_py() for index, author in enumerate(authors) if index <= last.get(author, -1)]] = False
    return table.filter(pa.array(keep))


def append_events(
    lake: Lake,
    day: str,
    events: Iterable[AnnotationEvent],
    inputs: Mapping[str, str],
    skipped_inputs: Iterable[Skipped] = (),
    withheld: Mapping[str, Collection[str]] | None = None,
    consents: str = "",
) -> DayEventLog:
    """Add the new ones among `events` to the log of `day`; events of erased segments are dropped.

    Args:
        lake: Where the log is.
        day: The day of recording of every event.
        events: Events in any order, repeated or not.
        inputs: Fingerprints of what the events were read from; merged into the known ones.
        skipped_inputs: What could not become an event; replaces earlier entries of the same inputs.
        withheld: Session → the claims by which its withheld annotations wait for a consent.
        consents: Signature of the consents under which `inputs` were read.

    Raises:
        PointerMovedError: Another process appended at the same time, or began to erase a segment of the events. Run again,
            nothing is lost.
    """
    pointer = lake.read_pointer(catalogue.ANNOTATIONS.name(day))
    before = None if pointer is None else DayEventLog(day=day, **pointer.value)
    present = EVENT_SCHEMA.empty_table() if before is None else read_event_table(lake, before.parquet)
    erased = read_tombstones(lake).segments
    added = _select_new_events(present, [each for each in events if each.segment_id not in erased])
    rows = pa.Table.from_pylist([each.row() for each in added], schema=EVENT_SCHEMA)
    order = [(key, "ascending") for key in ("segment_id", "created_at", "event_id")]
    table = pa.concat_tables([present, rows]).sort_by(order)
    earlier = () if before is None else read_skipped_inputs(lake, before.set_aside)
    others = [each for each in earlier if each.session not in inputs]
    value = {
        "parquet": put_table(lake, table),
        "inputs": {**(before.inputs if before else {}), **inputs},
        "set_aside": put_skipped_inputs(lake, [*others, *skipped_inputs]),
        "events": table.num_rows,
    }
    value = merge_withheld(value, before, inputs, withheld or {}, consents)
    if not (read_tombstones(lake).segments - erased).isdisjoint(each.segment_id for each in added):
        # The erasure moves the pointers that it finds, and did not find these events.
        raise PointerMovedError(
            f"an erasure began while the log of {day} was written; nothing was published, run again"
        )
    moved = lake.move_pointer(catalogue.ANNOTATIONS.name(day), value, pointer)
    return DayEventLog(day=day, added=len(added), **moved.value)


def _select_new_events(present: pa.Table, events: list[AnnotationEvent]) -> list[AnnotationEvent]:
    """Return the events whose answer differs from their author's previous answer for the segment."""
    segments = pa.array(sorted({each.segment_id for each in events}), pa.string())
    known = present.filter(pc.is_in(present["segment_id"], segments))
    known_ids = set(known["event_id"].to_pylist())
    answers: dict[tuple[str, str, str], list[tuple[datetime, int, tuple[str, ...]]]] = defaultdict(list)
    for event in map(parse_event, known.to_pylist()):
        history = answers[event.segment_id, event.source, canonical_name(event.person)]
        history.append((event.created_at, event.attempt, event.answer))
    added = []
    for event in sorted(events, key=lambda each: (each.created_at, each.event_id)):
        history = answers[event.segment_id, event.source, canonical_name(event.person)]
        at = bisect_right(history, event.created_at, key=lambda answer: answer[0])
        if event.event_id in known_ids or (at and history[at - 1][1:] == (event.attempt, event.answer)):
            continue
        known_ids.add(event.event_id)
        history.insert(at, (event.created_at, event.attempt, event.answer))
        added.append(event)
    return added
