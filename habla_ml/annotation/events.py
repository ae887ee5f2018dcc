"""One annotation event: a person said something about one segment at one time.

Events are facts and never change. Machine text is no event: it stands beside one only as what the person saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import pyarrow as pa

from habla_ml.lake import compute_digest

Status = Literal["corrected", "confirmed", "unusable"]

SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("day", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("person", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("seen_text", pa.string()),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
    ]
)
_LATER_COLUMNS: Final = ("model_version", "round")


@dataclass(frozen=True)
class AnnotationEvent:
    """What one person said about one segment."""

    segment_id: str
    session_id: str
    day: str
    """The segment's day of recording: the log is kept by it."""
    text: str
    """As typed, never normalised."""
    status: Status
    reason: str
    """Why it is unusable; else empty."""
    person: str
    """Who said it; empty where the source does not tell."""
    source: str
    """`habla`, `table:<name>`, or whatever else brought it."""
    created_at: datetime
    """Aware; kept in UTC."""
    seen_text: str | None
    """The machine's text the person had before them."""
    model_version: str = ""
    """The model version whose text that was: one of ours, `habla` or `habla:<model>` for Habla's own recogniser;
    empty where nothing is known."""
    round: int = 0
    """How often the segment had been sent back to the person who answers with this; 0 for a first look. The same
    text said again in a later round is a word of its own: it confirms the text."""

    @property
    def author(self) -> str:
        """Who spoke: the person, wherever they typed it, or the source where it does not name one."""
        return self.person or self.source

    @property
    def answer(self) -> tuple[str, str, str]:
        """What the event says, apart from who and when."""
        return (self.text, self.status, self.reason)

    @property
    def event_id(self) -> str:
        """sha256 of the event's content: the same event is one event, however often it is read.

        An unknown model version and a first look are left out, so that events of before these were kept have the id
        they were given.
        """
        row = self._digest_input()
        return compute_digest([value for name, value in row.items() if value or name not in _LATER_COLUMNS])

    def row(self) -> dict[str, Any]:
        """The event as a parquet row."""
        moment = self.created_at.astimezone(UTC)
        return {"event_id": self.event_id, **self._digest_input(), "created_at": moment}

    def _digest_input(self) -> dict[str, Any]:
        return {
            "segment_id": self.segment_id,
            "session_id": self.session_id,
            "day": self.day,
            "text": self.text,
            "status": self.status,
            "reason": self.reason,
            "person": self.person,
            "source": self.source,
            "created_at": self.created_at.astimezone(UTC).isoformat(),
            "seen_text": self.seen_text,
            "model_version": self.model_version,
            "round": self.round,
        }
