"""All annotation events of a day, from wherever people make them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from habla_ml.annotation.event_log import DayEventLog, load_events
from habla_ml.annotation.habla import gather_corrections
from habla_ml.annotation.table_import import find_changed_tables, import_table, record_unreadable_table
from habla_ml.consent.admission import load_consents
from habla_ml.errors import InputError
from habla_ml.lake import Lake
from habla_ml.settings import Settings


def collect_events(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayEventLog:
    """Append Habla's corrections of `day`, and every table that changed, to the log; returns the day's log.

    A table can speak of many days: their logs grow too, and `corpus.outdated_days.find_outdated_days` names them next. A
    table that cannot be read keeps nothing else from being gathered; `load_last_import` says what is wrong with it.

    Raises:
        InputError: the recordings folder cannot be listed, a table is not where the settings say, or the register of
            consents cannot be read.
        PointerMovedError: somebody else appended in the meantime; run again.
    """
    before = load_events(lake, day)
    after = gather_corrections(folder, day, lake, settings, now)
    consents = load_consents(settings, now)
    tables = find_changed_tables(lake, settings, consents)
    if tables:
        consents.check_readable()  # its faults are no table's
    for table in tables:
        try:
            import_table(table, lake, settings, now)
        except InputError as error:
            record_unreadable_table(table, lake, error)
        after = load_events(lake, day) or after
    return replace(after, added=after.events - (before.events if before else 0))
