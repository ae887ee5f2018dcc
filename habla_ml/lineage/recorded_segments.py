"""Find a session or a segment among the recordings of the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.errors import InputError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import count_rows, find_rows
from habla_ml.lineage.node import Kind, LineageBounds, ReadCost
from habla_ml.lineage.session_names import is_session_named, show_session
from habla_ml.recordings.days import find_metadata_id
from habla_ml.recordings.sessions import parse_session_day

_COLUMNS = ["segment_id", "session_id", "audio_sha256", "duration_s", "source"]


@dataclass(frozen=True)
class FoundRecordings:
    """The segments of a question, on their days."""

    kind: Kind
    id: str
    session: str
    """As `show_session` gives it."""
    days: tuple[str, ...]
    sources: tuple[str, ...]
    """`habla`, `upload`, `table` …"""
    sounds: frozenset[str]
    """sha256 of their samples."""
    segments: frozenset[str]
    """Their ids."""
    seconds: float


def find_recordings(lake: Lake, kind: Kind, name: str, bounds: LineageBounds, cost: ReadCost) -> FoundRecordings:
    """Return the segments of a session, or the one segment.

    The day is that of the session's name or of `bounds`. Otherwise the newest days are read until the segment is found;
    for a session, which can have segments on several days, all of them.

    Raises:
        InputError: It is not among the recordings that were read, or was erased.
    """
    known_day = _find_day(name, bounds)
    days = [known_day] if known_day else sorted(catalogue.RECORDINGS.keys(lake), reverse=True)[: bounds.most_days]
    found: dict[str, pa.Table] = {}
    for day in days:
        rows = _read_day(lake, day, kind, name, cost)
        if rows is not None and rows.num_rows:
            found[day] = rows
            if kind == "segment":
                break
    if not found:
        raise _explain_missing(lake, kind, name, known_day, bounds)
    rows = pa.concat_tables(found.values())
    return FoundRecordings(
        kind=kind,
        id=name if kind == "segment" else show_session(rows["session_id"][0].as_py()),
        session=show_session(rows["session_id"][0].as_py()),
        days=tuple(sorted(found)),
        sources=tuple(sorted(set(rows["source"].to_pylist()))),
        sounds=frozenset(rows["audio_sha256"].to_pylist()),
        segments=frozenset(rows["segment_id"].to_pylist()),
        seconds=pc.sum(rows["duration_s"]).as_py(),
    )


def _find_day(name: str, bounds: LineageBounds) -> str | None:
    """Return the day that the question or the name of a session gives."""
    if bounds.day is None:
        return parse_session_day(name)
    try:
        return date.fromisoformat(bounds.day).isoformat()
    except ValueError:
        raise InputError(f"{bounds.day!r} is no day; write it like 2026-02-16") from None


def _read_day(lake: Lake, day: str, kind: Kind, name: str, cost: ReadCost) -> pa.Table | None:
    """Return the rows of a day with this id; the other columns are read only where it is on that day."""
    metadata = find_metadata_id(lake, day)
    if metadata is None:
        return None
    cost.days += 1
    cost.rows += count_rows(lake, metadata)
    column = "segment_id" if kind == "segment" else "session_id"

    def is_meant(value: str) -> bool:
        return value == name if kind == "segment" else is_session_named(value, name)

    found = [each.rows for each in find_rows(lake, metadata, column, is_meant, _COLUMNS)]
    return pa.concat_tables(found) if found else None


def _explain_missing(lake: Lake, kind: Kind, name: str, day: str | None, bounds: LineageBounds) -> InputError:
    if kind == "segment" and name in read_tombstones(lake).segments:
        return InputError(
            f"segment {name} was erased after a withdrawn consent; the lake keeps its id so that it never returns, and "
            "`habla-ml erase` listed the model versions that used the voice"
        )
    if day is not None:
        return InputError(
            f"{kind} {name} is not among the recordings of {day} in {lake.url}; check its name and its day"
        )
    return InputError(
        f"{kind} {name} is not among the recordings of the newest {bounds.most_days} days in {lake.url}; name its day with "
        "--day, or search more days with --search-days"
    )
