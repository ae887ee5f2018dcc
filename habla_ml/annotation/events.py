"""One annotation event: one person's transcript or verdict of one segment at one time.

Events never change. Machine text is no event; an event only records which machine text the person saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal

import pyarrow as pa

from habla_ml.lake import compute_digest
from habla_ml.lake.table import arrow_schema

AnswerStatus = Literal["corrected", "confirmed", "unusable"]
Status = Literal["corrected", "confirmed", "unusable", "withdrawn"]
"""`withdrawn` takes back all earlier answers of the same author in the same source for the segment; it has no text."""


@dataclass(frozen=True)
class AnnotationEvent:
    """What one person entered for one segment."""

    segment_id: str
    session_id: str
    day: str
    """The segment's day of recording; the log is kept by it."""
    text: str
    """As typed, never normalised."""
    status: Status
    reason: str
    """Why the segment is unusable; else empty."""
    person: str
    """Empty where the source does not name one."""
    source: str
    """`habla`, `table:<name>`, or the name of another source."""
    created_at: datetime
    """Aware; stored in UTC."""
    seen_text: str | None
    model_version: str = ""
    """The model version of that text: one of ours, or `habla` or `habla:<model>` for Habla's own recogniser; empty
    where it is unknown."""
    attempt: int = 0
    """Number of review requests that precede this answer; 0 for a first look. The same text in a later attempt is an
    event of its own: it confirms the text."""
    is_blind: bool | None = None
    """Whether a review queue issued the segment without a text, so that the person typed what they heard; None for
    events from before this was recorded, which count as made with a text."""
    speaker: str = ""
    """Who speaks, where the person named someone else than the recording's label; `unknown` if that label is wrong and
    the speaker is not known. Empty where the person did not change it, and in events from before this was recorded."""

    @property
    def author(self) -> str:
        """The person in whatever source, or the source where it names no person."""
        return self.person or self.source

    @property
    def answer(self) -> tuple[str, str, str, str]:
        """Text, status, reason and speaker."""
        return (self.text, self.status, self.reason, self.speaker)

    @property
    def event_id(self) -> str:
        """The sha256 of the content, so that the same event is one event however often it is read.

        An unknown model version, attempt 0, a text that is not blind and an unnamed speaker are left out, which keeps the
        ids of events from before these columns.
        """
        row = {**self._columns(), "created_at": self.created_at.astimezone(UTC).isoformat()}
        if self.speaker:
            row["speaker"] = ["speaker", self.speaker]  # no model version looks like this
        return compute_digest([value for name, value in row.items() if value or name not in _LATER_COLUMNS])

    def row(self) -> dict[str, Any]:
        """Return the event as a row of the log's table."""
        return {"event_id": self.event_id, **self._columns(), "created_at": self.created_at.astimezone(UTC)}

    def _columns(self) -> dict[str, Any]:
        return {_COLUMN_NAMES.get(each.name, each.name): getattr(self, each.name) for each in fields(self)}


_COLUMN_NAMES: Final = {"attempt": "round"}
"""Field → stored column, where they differ."""
_LATER_COLUMNS: Final = ("model_version", "round", "is_blind", "speaker")
EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        *(each.with_name(_COLUMN_NAMES.get(each.name, each.name)) for each in arrow_schema(AnnotationEvent)),
    ]
)


def parse_event(row: Mapping[str, Any]) -> AnnotationEvent:
    """Return the event of a row of the log's table."""
    names = {_COLUMN_NAMES.get(each.name, each.name): each.name for each in fields(AnnotationEvent)}
    return AnnotationEvent(**{name: row[column] for column, name in names.items()})
