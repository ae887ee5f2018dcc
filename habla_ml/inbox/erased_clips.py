"""Erase received clips: their files, the texts on them, and whose they were. The id stays, so that no clip returns.

Files go first. An erasure that is interrupted is complete when it runs again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, delete, select, update

from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import CLIPS, DATA_POINTS
from habla_ml.lake import Store

_ROWS_PER_QUERY: Final = 500
_ERASED: Final[dict[str, Any]] = {
    "contributor": None,
    "contributor_key": None,
    "session": "",
    "recorded_at": None,
    "set_aside": None,
    "awaited_consents": None,
}
"""What is left of an erased clip: its id, its sha256 and size, when it was received and erased, and its segment's id."""


def erase_clips(database: Database, store: Store, clip_ids: Collection[str], now: datetime) -> int:
    """Erase these clips and the data points on them; return how many clips were not erased before.

    Raises `LakeError` if a file or a row cannot be deleted.
    """
    erased = 0
    for ids in _divide(clip_ids):
        with database.read() as connection:
            rows = select(CLIPS.c.clip_id, CLIPS.c.file_key)
            found = connection.execute(rows.where(CLIPS.c.clip_id.in_(ids), CLIPS.c.erased_at.is_(None))).all()
        present = [row.clip_id for row in found]
        for row in found:
            store.delete(row.file_key)
        erased += database.change(partial(_erase_rows, ids=ids, present=present, now=now))
    return erased


def list_erased_segments(database: Database) -> frozenset[str]:
    """Return the segments that the erased clips had become."""
    query = select(CLIPS.c.segment_id).where(CLIPS.c.erased_at.is_not(None), CLIPS.c.segment_id.is_not(None))
    with database.read() as connection:
        return frozenset(connection.scalars(query))


def _erase_rows(connection: Connection, ids: Sequence[str], present: Sequence[str], now: datetime) -> int:
    """Erase the rows of the clips `present`, and the texts on all of `ids`; return how many clips were not erased before."""
    rows_left = update(CLIPS).where(CLIPS.c.clip_id.in_(present), CLIPS.c.erased_at.is_(None))
    erased = connection.execute(rows_left.values(**_ERASED, erased_at=now)).rowcount
    # On PostgreSQL, the texts whose transaction had locked a clip are committed now, and no later one finds it.
    connection.execute(delete(DATA_POINTS).where(DATA_POINTS.c.clip_id.in_(ids)))
    return erased


def _divide(ids: Collection[str]) -> list[Sequence[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + _ROWS_PER_QUERY] for start in range(0, len(ordered), _ROWS_PER_QUERY)]
