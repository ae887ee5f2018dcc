"""What people said about segments: an append-only log of events, and where the events come from."""

from habla_ml.annotation.collect import collect_events
from habla_ml.annotation.event_log import DayEventLog, append_events, load_events, read_events
from habla_ml.annotation.events import AnnotationEvent, Status
from habla_ml.annotation.habla import find_corrected_sessions, gather_corrections, requeue_and_load_events
from habla_ml.annotation.table_import import (
    TableImport,
    find_changed_tables,
    import_table,
    is_table_changed,
    load_imported_days,
    load_last_import,
)
from habla_ml.annotation.tables import TableClip, find_table_file, read_table, read_table_clips, table_name

__all__ = [
    "AnnotationEvent",
    "DayEventLog",
    "Status",
    "TableClip",
    "TableImport",
    "append_events",
    "collect_events",
    "find_changed_tables",
    "find_corrected_sessions",
    "find_table_file",
    "gather_corrections",
    "import_table",
    "is_table_changed",
    "load_events",
    "load_imported_days",
    "load_last_import",
    "read_events",
    "read_table",
    "read_table_clips",
    "requeue_and_load_events",
    "table_name",
]
