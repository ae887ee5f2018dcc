"""A segment: its identity, its metadata, and the two tables of a day.

A day has two parquet objects with the same rows in the same order. One holds the audio. The other holds the metadata
only and is small enough to read whole, so that text and splits never touch audio.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches
from habla_ml.lake.table import arrow_schema

HABLA_SOURCE: Final = "habla"
"""Source of Habla's own recordings; every other source has its own name."""
ROW_GROUP_SIZE: Final = 256
"""Rows of a parquet row group; memory holds one group at a time."""

_NAMESPACE: Final = uuid.UUID("6d0c8b5e-1f0e-5c55-9a3f-0b7a3c1d2e4f")


@dataclass(frozen=True)
class SegmentMetadata:
    """What every stage knows of a segment."""

    segment_id: str
    session_id: str
    """The name of the session's folder."""
    speaker: str | None
    """A label that is local to its session, or an enrolled name."""
    duration_s: float
    loudness_dbfs: float
    audio_sha256: str
    """sha256 of the decoded 16 kHz PCM; two names of one recording share it."""

    def metadata(self) -> dict[str, Any]:
        """Return these fields by name, to build another record of the same segment."""
        return {name: getattr(self, name) for name in SEGMENT_COLUMNS}


SEGMENT_COLUMNS: Final = tuple(each.name for each in fields(SegmentMetadata))


@dataclass(frozen=True)
class RecordedSegment(SegmentMetadata):
    """A segment in the lake: one row of the day's parquet."""

    source: str
    day: str
    file_name: str
    number: int
    recorded_at: datetime | None
    """UTC; None if unknown."""
    audio: bytes
    """16 kHz mono 16-bit FLAC."""
    peak_dbfs: float
    clipped_share: float
    direction: str | None
    machine_text: str | None
    machine_confidence: float | None
    asr_status: str | None


SEGMENT_SCHEMA: Final = arrow_schema(
    RecordedSegment,
    order=(
        *("segment_id", "source", "session_id", "day", "file_name", "number", "recorded_at", "audio", "audio_sha256"),
        *("duration_s", "loudness_dbfs", "peak_dbfs", "clipped_share", "speaker"),
    ),
)
SEGMENT_METADATA_SCHEMA: Final = SEGMENT_SCHEMA.remove(SEGMENT_SCHEMA.get_field_index("audio"))


def segment_id(source: str, session_id: str, file_name: str) -> str:
    """Return the segment's identity: a UUIDv5 of its origin, the same at every ingest on every machine."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join((source, session_id, file_name))))


def read_segment_metadata(
    lake: Lake, metadata: str, columns: Sequence[str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a day's metadata (an object id) in order, with these columns or with all."""
    for batch in iterate_batches(lake, metadata, columns):
        yield from batch.to_pylist()
