"""The tables of `annotation.tables` as a source of annotation events."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext, SourceDay
from habla_ml.annotation.sources.tables.table_import import (
    clear_skipped_rows,
    find_changed_tables,
    import_table,
    load_imported_days,
    record_unreadable_table,
)
from habla_ml.consent.admission import load_consents
from habla_ml.errors import InputError
from habla_ml.lake import catalogue, compute_digest


def find_changes(context: SourceContext) -> SourceChanges:
    """Return the days that the tables have events of. Changed tables are unread input of the newest recorded day.

    Raises `InputError` if a table does not exist, or rows wait for a consent and the register cannot be read.
    """
    lake, settings = context.lake, context.settings
    changed = find_changed_tables(lake, settings, load_consents(settings, context.now))
    days = {day for table in settings.annotation.tables for day in load_imported_days(table, lake)}
    newest = max(catalogue.RECORDINGS.keys(lake), default=None) if changed else None
    unread = {} if newest is None else {newest: compute_digest(list(changed.values()))}
    return SourceChanges(tuple(SourceDay(day, unread.get(day, "")) for day in sorted({*days, *unread})))


def collect(context: SourceContext, _day: str) -> None:
    """Import every changed table, for all its days. An unreadable table is recorded and does not stop the others.

    Raises `InputError` if a table does not exist, or the consent register cannot be read, or `PointerMovedError` if
    another process published the same day. Run again.
    """
    lake, settings, now = context.lake, context.settings, context.now
    consents = load_consents(settings, now)
    tables = find_changed_tables(lake, settings, consents)
    if tables:
        consents.check_readable()  # a register that cannot be read is not a fault of the table
    for table in tables:
        try:
            import_table(table, lake, settings, now)
        except InputError as error:
            record_unreadable_table(table, lake, error)


def forget(context: SourceContext, _segment_ids: Collection[str]) -> ForgetReport:
    """Clear the lists of skipped rows, whose reasons can repeat a text, so that the tables are imported again."""
    clear_skipped_rows(context.lake)
    tables = context.settings.annotation.tables
    return ForgetReport(left_to_person=tuple(f"rows and clips of {table}, if theirs" for table in tables))


SOURCE: Final = AnnotationSource("tables", "new_corrections", find_changes, collect, forget)
