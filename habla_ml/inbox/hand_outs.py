"""The clips that the page gave to people: which text they saw, and who works on a clip at the moment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import HAND_OUTS

RESERVED_FOR: Final = timedelta(minutes=15)
"""For so long others do not get a clip that a person has."""
KEPT_FOR: Final = timedelta(days=60)
"""For so long an answer on a clip is accepted."""
_IDS_PER_QUERY: Final = 500


@dataclass(frozen=True)
class HandOut:
    """A clip that a person got."""

    hand_out_id: str
    person_key: str
    """Canonical name of the person."""
    segment_id: str
    session_id: str
    day: str
    seen_text: str | None
    """The text that the page showed; None for a blind segment."""
    model_version: str
    attempt: int
    is_blind: bool
    handed_out_at: datetime

    @property
    def _shown(self) -> tuple[Any, ...]:
        return (self.segment_id, self.seen_text, self.model_version, self.attempt, self.is_blind)


def save_hand_outs(database: Database, given: Collection[HandOut]) -> list[HandOut]:
    """Store what one person gets, and return it as stored: a clip with the same text keeps its first id.

    What is older than `KEPT_FOR` is deleted.
    """
    if not given:
        return []
    now = max(each.handed_out_at for each in given)

    def save(connection: Connection) -> list[HandOut]:
        connection.execute(delete(HAND_OUTS).where(HAND_OUTS.c.handed_out_at < now - KEPT_FOR))
        return [_save(connection, each) for each in given]

    return database.change(save)


def find_hand_out(database: Database, hand_out_id: str, person_key: str) -> HandOut | None:
    """Return what a person got, or None if the person did not get it."""
    same = (HAND_OUTS.c.hand_out_id == hand_out_id, HAND_OUTS.c.person_key == person_key)
    with database.read() as connection:
        return next(iter(_read(connection, *same)), None)


def find_reservations(
    database: Database, segment_ids: Collection[str], person_key: str, now: datetime
) -> dict[str, set[str]]:
    """Return segment → the other people who have got it a short time ago."""
    ids, found = sorted(segment_ids), dict[str, set[str]]()
    recent = (HAND_OUTS.c.handed_out_at > now - RESERVED_FOR, HAND_OUTS.c.person_key != person_key)
    with database.read() as connection:
        for start in range(0, len(ids), _IDS_PER_QUERY):
            for each in _read(connection, *recent, HAND_OUTS.c.segment_id.in_(ids[start : start + _IDS_PER_QUERY])):
                found.setdefault(each.segment_id, set()).add(each.person_key)
    return found


def _save(connection: Connection, given: HandOut) -> HandOut:
    same = (HAND_OUTS.c.person_key == given.person_key, HAND_OUTS.c.segment_id == given.segment_id)
    known = next((each for each in _read(connection, *same) if each._shown == given._shown), None)
    if known is None:
        connection.execute(insert(HAND_OUTS).values(**asdict(given)))
        return given
    query = update(HAND_OUTS).where(HAND_OUTS.c.hand_out_id == known.hand_out_id)
    connection.execute(query.values(handed_out_at=given.handed_out_at))
    return replace(known, handed_out_at=given.handed_out_at)


def _read(connection: Connection, *conditions: Any) -> list[HandOut]:
    columns = [HAND_OUTS.c[name] for name in HandOut.__dataclass_fields__]
    return [HandOut(**row) for row in connection.execute(select(*columns).where(*conditions)).mappings()]
