"""Segments whose text breaks a requirement of the conventions, so that a person can look at them again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.corpus.build import DayOfCorpus, load_corpus
from habla_ml.lake import Lake

_COLUMNS: Final = ("segment_id", "session_id", "day", "file_name", "text", "violations")


@dataclass(frozen=True)
class ViolatingSegment:
    """One segment that should go back for review, and why."""

    segment_id: str
    session_id: str
    day: str
    file_name: str
    text: str
    """As typed."""
    violations: tuple[str, ...]
    """Names of the requirements it breaks, in the order of the conventions."""


def violating_segments(lake: Lake) -> Iterator[ViolatingSegment]:
    """Every annotated segment that breaks a requirement, by day; holds one day at a time.

    Days whose pointer counts no violation are not opened, and of the others a few narrow columns are read.
    """
    for name in lake.pointers("corpus/"):
        day = load_corpus(lake, name.removeprefix("corpus/"))
        if day is not None:
            yield from read_violations(lake, day)


def read_violations(lake: Lake, day: DayOfCorpus, most: int | None = None) -> tuple[ViolatingSegment, ...]:
    """The day's segments that break a requirement, the first `most` of them, in the day's order."""
    if not day.violations:
        return ()
    table = pq.read_table(io.BytesIO(lake.get_bytes(day.parquet)), columns=list(_COLUMNS))
    flagged = table.filter(pc.greater(pc.list_value_length(table["violations"]), 0)).slice(0, most)
    rows = flagged.to_pylist()
    return tuple(ViolatingSegment(**{**row, "violations": tuple(row["violations"])}) for row in rows)
