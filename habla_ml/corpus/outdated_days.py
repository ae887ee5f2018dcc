"""Which days' text is behind what people have said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from habla_ml.annotation import (
    find_changed_tables,
    find_corrected_sessions,
    load_imported_days,
    requeue_and_load_events,
)
from habla_ml.consent.admission import load_consents
from habla_ml.corpus.build import load_corpus_day
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings import ChangedDay, load_day
from habla_ml.settings import Settings


def find_outdated_days(folder: Path, lake: Lake, settings: Settings, now: datetime) -> Iterator[ChangedDay]:
    """Days whose corrections or recordings are newer than their text, in order; opens no file of Habla's.

    Looks at the days with corrections in Habla's folder and the days the tables spoke of; a table that changed, or
    was never imported, or of which rows were withheld whose consent has come, comes in with the newest day of
    recordings. A day without recordings in the lake waits for them. Where corrections were withheld and their consent
    has come, their day is asked for. Changed conventions are no reason here: that backfill is asked for by a person.

    Raises:
        InputError: the recordings folder cannot be listed, a table is not where the settings say, or something waits
            for a consent and the register cannot be read.
    """
    sessions = find_corrected_sessions(folder, settings, now)
    consents = load_consents(settings, now)
    changed = find_changed_tables(lake, settings, consents)
    importing = _find_newest_day(lake) if changed else None
    spoken_of = {day for table in settings.annotation.tables for day in load_imported_days(table, lake)}
    for day in sorted({*sessions, *spoken_of, *([importing] if importing else [])}):
        recordings = load_day(lake, day)
        if recordings is None:
            continue
        inputs, events, text = (
            sessions.get(day, {}),
            requeue_and_load_events(lake, day, consents),
            load_corpus_day(lake, day),
        )
        gathered = events is not None and inputs.items() <= events.inputs.items()
        written = text is not None and (text.annotations, text.facts) == (
            events.parquet if events else "",
            recordings.facts,
        )
        if day == importing or not (gathered and written):
            tables = list(changed.values()) if day == importing else []
            heard = events.parquet if events else ""
            read_from = [events.inputs.get(name, "") for name in sorted(inputs)] if events else []
            yield ChangedDay(day, compute_digest([inputs, read_from, recordings.facts, heard, tables]))


def _find_newest_day(lake: Lake) -> str | None:
    return max(catalogue.RECORDINGS.keys(lake), default=None)
