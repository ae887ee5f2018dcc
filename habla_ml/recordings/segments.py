"""A segment: its identity, its row, and the two tables of a day.

A day is published as two parquet objects with the same rows in the same order: one with the audio, and one of
*facts* without it, small enough to be read whole, so that text and splits never touch audio.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

HABLA_SOURCE: Final = "habla"
"""Source of what Habla recorded; anything else names its own."""
ROW_GROUP_SIZE: Final = 256
"""Rows held in memory at once, and rows of one parquet row group."""

_NAMESPACE: Final = uuid.UUID("6d0c8b5e-1f0e-5c55-9a3f-0b7a3c1d2e4f")


@dataclass(frozen=True)
class RecordedSegment:
    """One spoken segment as the lake keeps it: field by field a row of the day's parquet."""

    segment_id: str
    source: str
    session_id: str
    """The name of the session's folder."""
    day: str
    file_name: str
    number: int
    recorded_at: datetime | None
    """UTC; None where nothing said it."""
    audio: bytes
    """16 kHz mono 16-bit FLAC."""
    audio_sha256: str
    """sha256 of the decoded PCM."""
    duration_s: float
    loudness_dbfs: float
    peak_dbfs: float
    clipped_share: float
    speaker: str | None
    direction: str | None
    machine_text: str | None
    machine_confidence: float | None
    asr_status: str | None

    @property
    def sort_key(self) -> tuple[str, int, str, str]:
        """What rows of a day are sorted by."""
        return (self.session_id, self.number, self.file_name, self.source)


SEGMENT_SCHEMA: Final = pa.schema(
    [
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("day", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC")),
        pa.field("audio", pa.binary(), nullable=False),
        pa.field("audio_sha256", pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("loudness_dbfs", pa.float64(), nullable=False),
        pa.field("peak_dbfs", pa.float64(), nullable=False),
        pa.field("clipped_share", pa.float64(), nullable=False),
        pa.field("speaker", pa.string()),
        pa.field("direction", pa.string()),
        pa.field("machine_text", pa.string()),
        pa.field("machine_confidence", pa.float64()),
        pa.field("asr_status", pa.string()),
    ]
)
SEGMENT_METADATA_SCHEMA: Final = SEGMENT_SCHEMA.remove(SEGMENT_SCHEMA.get_field_index("audio"))

_COLUMNS = tuple(field.name for field in fields(RecordedSegment))


def segment_id(source: str, session_id: str, file_name: str) -> str:
    """The segment's identity: a UUIDv5 of where it came from, the same at every ingest on every machine."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join((source, session_id, file_name))))


def to_segment_row(segment: RecordedSegment) -> dict[str, Any]:
    """The segment as a parquet row."""
    return {name: getattr(segment, name) for name in _COLUMNS}
