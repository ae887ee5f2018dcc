"""The received clips that are not erased, by contributor, session or segment."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, select

from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import CLIPS

_ROWS_PER_QUERY: Final = 500


@dataclass(frozen=True)
class HeldClip:
    """A received clip that is not erased."""

    clip_id: str
    contributor: str | None
    device_id: str
    session: str
    segment_id: str | None


def find_clips_of_contributors(database: Database, keys: Collection[str]) -> list[HeldClip]:
    """Return the clips that name one of these contributors, by the canonical forms of their pseudonyms."""
    return _find_by_values(database, CLIPS.c.contributor_key, keys)


def find_clips_of_segments(database: Database, segment_ids: Collection[str]) -> list[HeldClip]:
    """Return the clips that have become these segments."""
    return _find_by_values(database, CLIPS.c.segment_id, segment_ids)


def find_clips_of_session(database: Database, device_id: str, session: str) -> list[HeldClip]:
    """Return the clips of a device's session."""
    return list(_find(database, CLIPS.c.device_id == device_id, CLIPS.c.session == session))


def list_clip_sessions(database: Database) -> list[tuple[str, str]]:
    """Return device and session of all clips; reads every clip's row."""
    query = select(CLIPS.c.device_id, CLIPS.c.session).where(CLIPS.c.erased_at.is_(None)).distinct()
    with database.read() as connection:
        return [(row.device_id, row.session) for row in connection.execute(query)]


def _find_by_values(database: Database, column: ColumnElement[Any], values: Collection[str]) -> list[HeldClip]:
    ordered = sorted(values)
    parts = (ordered[start : start + _ROWS_PER_QUERY] for start in range(0, len(ordered), _ROWS_PER_QUERY))
    return [each for part in parts for each in _find(database, column.in_(part))]


def _find(database: Database, *conditions: ColumnElement[bool]) -> Iterator[HeldClip]:
    columns = [CLIPS.c[name] for name in HeldClip.__dataclass_fields__]
    with database.read() as connection:
        for row in connection.execute(select(*columns).where(CLIPS.c.erased_at.is_(None), *conditions)):
            yield HeldClip(*row)
