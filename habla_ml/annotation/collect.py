"""All annotation events of a day, from wherever people make them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from habla_ml.annotation.habla import gather_corrections
from habla_ml.annotation.imports import changed_tables, import_table, note_unreadable
from habla_ml.annotation.log import DayOfEvents, load_events
from habla_ml.consent.admission import consents_of
from habla_ml.errors import InputError
from habla_ml.lake import Lake
from habla_ml.settings import Settings


def collect_events(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayOfEvents:
    """Append Habla's corrections of `day`, and every table that changed, to the log; returns the day's log.

    A table can speak of many days: their logs grow too, and `corpus.changes.changed_corrections` names them next. A
    table that cannot be read keeps nothing else from being gathered; `last_import` says what is wrong with it.

    Raises:
        InputError: the recordings folder cannot be listed, a table is not where the settings say, or the register of
            consents cannot be read.
        PointerMovedError: somebody else appended in the meantime; run again.
    """
    before = load_events(lake, day)
    after = gather_corrections(folder, day, lake, settings, now)
    consents = consents_of(settings, now)
    tables = changed_tables(lake, settings, consents)
    if tables:
        consents.require()  # its faults are no table's
    for table in tables:
        try:
            import_table(table, lake, settings, now)
        except InputError as error:
            note_unreadable(table, lake, error)
        after = load_events(lake, day) or after
    return replace(after, added=after.events - (before.events if before else 0))
