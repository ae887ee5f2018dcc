"""Turn Habla's folders into segments in the lake: scan, read hints, decode, publish a day."""

from habla_ml.recordings.change_detection import ChangedDay, find_changed_days
from habla_ml.recordings.day_reader import read_segment
from habla_ml.recordings.days import PublishedDay, load_day, publish_day, read_skipped_inputs
from habla_ml.recordings.ingest import IngestedDay, ingest_day
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.segments import HABLA_SOURCE, RecordedSegment, segment_id
from habla_ml.recordings.sessions import SessionFolder, Skipped, scan_sessions, to_utc

__all__ = [
    "HABLA_SOURCE",
    "ChangedDay",
    "IngestedDay",
    "PublishedDay",
    "RecordedSegment",
    "SegmentHint",
    "SessionFolder",
    "SessionHints",
    "Skipped",
    "find_changed_days",
    "ingest_day",
    "load_day",
    "publish_day",
    "read_hints",
    "read_segment",
    "read_skipped_inputs",
    "scan_sessions",
    "segment_id",
    "to_utc",
]
