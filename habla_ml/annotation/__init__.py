"""What people said about segments: an append-only log of events, and where the events come from."""

from habla_ml.annotation.collect import collect_events
from habla_ml.annotation.events import AnnotationEvent, Status
from habla_ml.annotation.habla import corrected_sessions, gather_corrections, load_gathered
from habla_ml.annotation.imports import (
    TableImport,
    changed_tables,
    import_table,
    imported_days,
    last_import,
    table_changed,
)
from habla_ml.annotation.log import DayOfEvents, append_events, load_events, read_events
from habla_ml.annotation.tables import TableClip, read_table, read_table_clips, table_file, table_name

__all__ = [
    "AnnotationEvent",
    "DayOfEvents",
    "Status",
    "TableClip",
    "TableImport",
    "append_events",
    "changed_tables",
    "collect_events",
    "corrected_sessions",
    "gather_corrections",
    "import_table",
    "imported_days",
    "last_import",
    "load_events",
    "load_gathered",
    "read_events",
    "read_table",
    "read_table_clips",
    "table_changed",
    "table_file",
    "table_name",
]
