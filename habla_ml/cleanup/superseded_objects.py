"""Objects of the lake that no pointer leads to any more, such as a day's text before its last correction.

A process that read a pointer may still read the objects that it named. Therefore the age of an object does not decide,
but how long it has been unreachable: each cleanup marks the objects that are unreachable now, and removes those with
an earlier mark that is older than the grace period. An object that was reachable or stored again since loses its mark.

The marks are a table, because the ids in a table do not count as names of objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from habla_ml.cleanup.leftover import Leftover, LeftoverGroup
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.lake import StoredObject
from habla_ml.lake.table import arrow_schema, put_table, read_table


@dataclass(frozen=True)
class _Mark:
    """One row of the marks."""

    object_id: str
    unreachable_since: datetime


def find_superseded_objects(
    lake: Lake, now: datetime, grace: timedelta, named_by_settings: Iterable[Mapping[str, Any]], *, mark: bool
) -> LeftoverGroup:
    """Return the unreachable objects.

    Args:
        lake: The lake.
        now: UTC.
        grace: Time since the first mark after which an object is due.
        named_by_settings: Values of the settings that name objects.
        mark: Store the marks, so that later cleanups can remove the objects.

    Raises:
        PointerMovedError: Another cleanup marked objects at the same time; run again.
    """
    objects = {each.sha256: each for each in lake.list_objects()}
    reachable = lake.find_reachable(objects.keys(), more=named_by_settings)
    pointer = lake.read_pointer(catalogue.CLEANUP_MARKS)
    known = _read_marks(lake, pointer.value["marks"]) if pointer else {}
    marks = {
        each.sha256: _renew_mark(each, known.get(each.sha256), now)
        for each in objects.values()
        if each.sha256 not in reachable
    }
    due = {sha256: since for sha256, since in marks.items() if since <= now - grace}
    if mark and marks != known:
        lake.move_pointer(catalogue.CLEANUP_MARKS, {"marks": _put_marks(lake, marks)}, pointer)
    return LeftoverGroup(
        "superseded objects in the lake",
        tuple(_make_leftover(lake, objects[sha256], since) for sha256, since in due.items()),
        len(marks) - len(due),
        sum(objects[each].size_bytes for each in marks.keys() - due.keys()),
    )


def _renew_mark(unreachable: StoredObject, since: datetime | None, now: datetime) -> datetime:
    """Return the time of the first mark; an object that was stored again after it starts anew."""
    return now if since is None or unreachable.modified_at >= since else since


def _make_leftover(lake: Lake, superseded: StoredObject, since: datetime) -> Leftover:
    return Leftover(
        superseded.sha256, superseded.size_bytes, lambda: lake.delete_unused_object(superseded.sha256, since)
    )


def _read_marks(lake: Lake, object_id: str) -> dict[str, datetime]:
    marks = (_Mark(**row) for row in read_table(lake, object_id).to_pylist())
    return {each.object_id: each.unreachable_since for each in marks}


def _put_marks(lake: Lake, marks: Mapping[str, datetime]) -> str:
    rows = [vars(_Mark(object_id, since)) for object_id, since in sorted(marks.items())]
    return put_table(lake, pa.Table.from_pylist(rows, schema=arrow_schema(_Mark)))
