"""The tables of `annotation.tables` as a source of annotation events."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext, SourceDay
from habla_ml.annotation.sources.tables.clips import find_default_day
from habla_ml.annotation.sources.tables.rows import fingerprint_table
from habla_ml.annotation.sources.tables.table_import import (
    clear_skipped_rows,
    find_changed_tables,
    find_table_change,
    import_table,
    load_imported_days,
    record_unreadable_table,
)
from habla_ml.consent.admission import Consents, load_consents
from habla_ml.errors import InputError, IsolatedError, isolate
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings.day_range import is_day_inside
from habla_ml.recordings.days import load_day, publish_day


def find_changes(context: SourceContext) -> SourceChanges:
    """Return the days that the tables have events of. Changed tables are unread input of the newest recorded day.

    In a lake without a recorded day they are input of the day on which the newest of them was saved: a person need not have
    Habla's recordings.

    A table that does not exist, or whose rows wait for a consent while the register cannot be read, is an error of its
    own and does not hide the others.
    """
    lake, settings = context.lake, context.settings
    errors: list[IsolatedError] = []
    changed = find_changed_tables(lake, settings, load_consents(settings, context.now), errors)
    days: set[str] = set()
    pointers = catalogue.TABLES.read(lake)
    for table in settings.annotation.tables:
        with isolate(f"table {table}", errors):
            days.update(load_imported_days(table, pointers))
    recorded = catalogue.RECORDINGS.keys(lake) if changed else iter(())
    newest = max((day for day in recorded if is_day_inside(day, settings, context.now)), default=None)
    saved = max((find_default_day(table, settings, context.now) for table in changed), default="")
    is_first = newest is None and saved != "" and is_day_inside(saved, settings, context.now)
    day_to_read = saved if is_first else newest
    unread = {day_to_read: compute_digest(list(changed.values()))} if day_to_read else {}
    found = tuple(SourceDay(day, unread.get(day, ""), is_first and day in unread) for day in sorted({*days, *unread}))
    return SourceChanges(found, errors=tuple(dict.fromkeys(errors)))


def collect(context: SourceContext, day: str) -> None:
    """Import every changed table, for all its days. An unreadable table is recorded and does not stop the others.

    A day that was asked for a table and got no clip is published empty, so that the run can say why.
    A table that does not exist waits; the sensor reports it. Raises `InputError` if the consent register cannot be read,
    or `PointerMovedError` if another process published the same day. Run again.
    """
    lake, settings, now = context.lake, context.settings, context.now
    consents = load_consents(settings, now)
    tables = [table for table in settings.annotation.tables if _is_to_import(table, lake, consents)]
    if tables:
        consents.check_readable()  # a register that cannot be read is not a fault of the table
    for table in tables:
        fingerprint = fingerprint_table(table)
        try:
            import_table(table, lake, settings, now)
        except InputError as error:
            record_unreadable_table(table, lake, error, fingerprint)
    if tables and load_day(lake, day) is None:
        publish_day(lake, day, [], settings.work_folder)


def _is_to_import(table: Path, lake: Lake, consents: Consents) -> bool:
    """Return whether the table is changed; raise `InputError` if the register cannot be read."""
    try:
        return find_table_change(table, lake, lake, consents) is not None
    except InputError:
        consents.check_readable()
        return False  # the sensor reports the table at each tick


def forget(context: SourceContext, _segment_ids: Collection[str]) -> ForgetReport:
    """Clear the lists of skipped rows, whose reasons can repeat a text, so that the tables are imported again."""
    clear_skipped_rows(context.lake)
    tables = context.settings.annotation.tables
    return ForgetReport(left_to_person=tuple(f"rows and clips of {table}, if theirs" for table in tables))


SOURCE: Final = AnnotationSource("tables", "new_corrections", find_changes, collect, forget)
