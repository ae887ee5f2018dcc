"""Segments that break a requirement of the conventions, and which violations a person confirmed.

A violation is confirmed if the review queue returned the text for it under the same conventions, and the latest
annotation is newer and has the same text. This follows from the segment's row and the queue's record; nothing else is
stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import IssuedReviewRequest, load_review_requests
from habla_ml.corpus.build import CORPUS_SCHEMA, CorpusDay, list_corpus_days
from habla_ml.lake import Lake, compute_digest
from habla_ml.lake.table import open_parquet

_VIOLATION_BATCH_ROWS: Final = 65_536
_VIOLATION_COLUMNS: Final = ("segment_id", "session_id", "day", "file_name", "text", "violations", "annotated_at")

ReviewRequestsBySegment = Mapping[str, tuple[IssuedReviewRequest, ...]]
"""Segment → its review requests."""


@dataclass(frozen=True)
class ViolatingSegment:
    """One segment that breaks the conventions."""

    segment_id: str
    session_id: str
    day: str
    file_name: str
    text: str
    """As typed."""
    conventions_digest: str
    violations: tuple[str, ...]
    confirmed: tuple[str, ...]
    """Broken requirements that a person confirmed in review."""

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Broken requirements that a person should check."""
        return tuple(each for each in self.violations if each not in self.confirmed)


def find_violating_segments(lake: Lake) -> Iterator[ViolatingSegment]:
    """Yield every annotated segment that breaks a requirement, by day; memory holds one day.

    Days without violations in their pointer are not opened; of the others only a few columns are read.
    """
    review_requests = load_review_requests(lake)
    for day in list_corpus_days(lake):
        if day.violations:
            yield from _make_violating_segments(_read_violating_rows(lake, day), day, review_requests)


def read_violations(lake: Lake, day: CorpusDay, most: int | None = None) -> tuple[ViolatingSegment, ...]:
    """Return the first `most` segments of the day that break a requirement, in the day's order."""
    if not day.violations:
        return ()
    rows = _read_violating_rows(lake, day).slice(0, most)
    return tuple(_make_violating_segments(rows, day, load_review_requests(lake)))


def count_confirmed(lake: Lake, day: CorpusDay) -> dict[str, int]:
    """Return requirement → the day's segments that break it with a person's confirmation."""
    review_requests = load_review_requests(lake)
    if not day.violations or not review_requests:
        return {}
    rows = _read_violating_rows(lake, day)
    requested = rows.filter(pc.is_in(rows["segment_id"], pa.array(sorted(review_requests), pa.string())))
    segments = _make_violating_segments(requested, day, review_requests)
    return dict(sorted(Counter(rule for each in segments for rule in each.confirmed).items()))


def find_confirmed_rules(
    review_requests: tuple[IssuedReviewRequest, ...], text: str, annotated_at: datetime, conventions_digest: str
) -> frozenset[str]:
    """Return the rules for which a review request returned this text under these conventions before the annotation.

    `review_requests` are those of the segment, `text` and `annotated_at` belong to its latest annotation.
    """
    if not review_requests:
        return frozenset()
    wanted = (conventions_digest, compute_digest(text))
    return frozenset(
        rule
        for each in review_requests
        if (each.request.conventions_digest, each.request.text_digest) == wanted and each.issued_at < annotated_at
        for rule in each.request.rules
    )


def _read_violating_rows(lake: Lake, day: CorpusDay) -> pa.Table:
    file = open_parquet(lake.fetch_path(day.parquet))
    batches = file.iter_batches(_VIOLATION_BATCH_ROWS, columns=list(_VIOLATION_COLUMNS))
    parts = [rows.filter(pc.greater(pc.list_value_length(rows["violations"]), 0)) for rows in batches]
    return pa.Table.from_batches(parts, schema=pa.schema([CORPUS_SCHEMA.field(name) for name in _VIOLATION_COLUMNS]))


def _make_violating_segments(
    rows: pa.Table, day: CorpusDay, review_requests: ReviewRequestsBySegment
) -> Iterator[ViolatingSegment]:
    digest = day.conventions_digest
    for row in rows.to_pylist():
        annotated_at, broken = row.pop("annotated_at"), tuple(row.pop("violations"))
        requests = review_requests.get(row["segment_id"], ())
        confirmed = find_confirmed_rules(requests, row["text"], annotated_at, digest)
        confirmed_in_order = tuple(rule for rule in broken if rule in confirmed)
        yield ViolatingSegment(**row, conventions_digest=digest, violations=broken, confirmed=confirmed_in_order)
