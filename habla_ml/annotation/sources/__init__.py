"""The annotation sources. A new source is one module or package here, and one row in `SOURCES`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from habla_ml.annotation.event_log import DayEventLog, append_events, load_events
from habla_ml.annotation.source import AnnotationSource, SourceContext
from habla_ml.annotation.sources import habla, page, uploads
from habla_ml.annotation.sources.label_studio import source as label_studio
from habla_ml.annotation.sources.tables import source as tables
from habla_ml.lake import Lake
from habla_ml.settings import Settings

SOURCES: Final[tuple[AnnotationSource, ...]] = (
    habla.SOURCE,
    tables.SOURCE,
    label_studio.SOURCE,
    uploads.SOURCE,
    page.SOURCE,
)
"""Every source, in the order in which a day's events are collected."""


def collect_events(lake: Lake, day: str, settings: Settings, now: datetime) -> DayEventLog:
    """Append the unread events of `day` from every source; return the day's log.

    A source can append events of other days too, as a table does; `find_outdated_days` then lists those days. Raises
    `InputError` if a recordings folder cannot be listed, a table does not exist, or the consent register cannot be
    read, or `PointerMovedError` if another process appended at the same time. Run again.
    """
    before = load_events(lake, day)
    for source in SOURCES:
        source.collect(SourceContext(lake, settings, now), day)
    after = load_events(lake, day) or append_events(lake, day, [], {})
    return replace(after, added=after.events - (before.events if before else 0))
