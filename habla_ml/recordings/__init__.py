"""Habla's folders become segments in the lake: scan, read hints, decode, publish a day."""

from habla_ml.recordings.changes import ChangedDay, changed_days
from habla_ml.recordings.days import PublishedDay, load_day, publish_day, read_set_aside
from habla_ml.recordings.ingest import DayOfRecordings, ingest_day
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.reading import read_segment
from habla_ml.recordings.segments import HABLA, Segment, segment_id
from habla_ml.recordings.sessions import Scan, SessionFolder, SetAside, scan_sessions, to_utc

__all__ = [
    "HABLA",
    "ChangedDay",
    "DayOfRecordings",
    "PublishedDay",
    "Scan",
    "Segment",
    "SegmentHint",
    "SessionFolder",
    "SessionHints",
    "SetAside",
    "changed_days",
    "ingest_day",
    "load_day",
    "publish_day",
    "read_hints",
    "read_segment",
    "read_set_aside",
    "scan_sessions",
    "segment_id",
    "to_utc",
]
