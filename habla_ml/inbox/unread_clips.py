"""The received clips that the pipeline has yet to read, and what it notes of those that it has read.

A query costs what it finds: partial indexes leave out the clips that were read before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, func, select, update

from habla_ml.inbox.clips import format_hour
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import CLIPS
from habla_ml.inbox.waiting import list_distinct, requeue_waiting, update_each

_MOST_CLOCK_LEAD: Final = timedelta(days=1)
"""The clock of the pipeline can be behind instead: a clip of less than a day ahead waits, and keeps its times."""


@dataclass(frozen=True)
class UnreadClip:
    """A clip that the service has received."""

    clip_id: str
    file_key: str
    """Of its file in the store."""
    sha256: str
    """Of the file as it was sent."""
    device_id: str
    contributor: str | None
    """A pseudonym; None where the device named none."""
    session: str
    recorded_at: datetime | None
    received_at: datetime


@dataclass(frozen=True)
class UnreadHour:
    """A UTC hour of receipt with clips that can be read."""

    hour: str
    """Such as `2026-11-29T06`."""
    clips: int
    newest_at: datetime
    """When the newest of them was received."""


@dataclass(frozen=True)
class ReceivedHour:
    """All clips of a UTC hour of receipt by state; erased ones are left out."""

    segments: Mapping[str, str]
    """Clip → the segment that it is in the lake."""
    set_aside: Mapping[str, str]
    """Clip → why it was set aside."""
    waiting_for_consent: int
    unread: int

    @property
    def clips(self) -> int:
        """Their number."""
        return len(self.segments) + len(self.set_aside) + self.waiting_for_consent + self.unread


@dataclass(frozen=True)
class ClipCounts:
    """The received clips by state; erased ones are left out."""

    unread: int
    oldest_unread_at: datetime | None
    waiting_for_consent: int
    set_aside: Mapping[str, int]
    """Hour of receipt → clips that were set aside, newest first."""
    example: str
    """Why one of them was set aside; empty where none was."""


def is_unread_clip() -> ColumnElement[bool]:
    """Return the condition of a clip that is neither in the lake nor set aside nor erased; it may wait for a consent."""
    columns = CLIPS.c
    return and_(columns.segment_id.is_(None), columns.set_aside.is_(None), columns.erased_at.is_(None))


def find_unread_hours(database: Database) -> list[UnreadHour]:
    """Return the hours with clips that can be read now, oldest first."""
    query = (
        select(CLIPS.c.hour, func.count(), func.max(CLIPS.c.received_at))
        .where(is_unread_clip(), CLIPS.c.awaited_consents.is_(None))
        .group_by(CLIPS.c.hour)
        .order_by(CLIPS.c.hour)
    )
    with database.read() as connection:
        return [UnreadHour(*row) for row in connection.execute(query)]


def date_future_clips(database: Database, now: datetime) -> int:
    """Let the unread clips count as received now that a clock which was ahead dated over a day later; return how many.

    Otherwise they would wait until the clock of the pipeline is there.
    """
    is_future = CLIPS.c.hour > format_hour(now + _MOST_CLOCK_LEAD)
    query = update(CLIPS).where(is_unread_clip(), is_future).values(received_at=now, hour=format_hour(now))
    with database.read() as connection:
        if connection.scalar(select(CLIPS.c.clip_id).where(is_unread_clip(), is_future).limit(1)) is None:
            return 0
    return database.change(lambda connection: connection.execute(query).rowcount)


def read_unread_clips(database: Database, hour: str) -> list[UnreadClip]:
    """Return the clips of an hour that can be read now, by id."""
    columns = [CLIPS.c[name] for name in UnreadClip.__dataclass_fields__]
    query = (
        select(*columns)
        .where(is_unread_clip(), CLIPS.c.awaited_consents.is_(None), CLIPS.c.hour == hour)
        .order_by(CLIPS.c.clip_id)
    )
    with database.read() as connection:
        return [UnreadClip(**row) for row in connection.execute(query).mappings()]


def mark_ingested(database: Database, segments: Mapping[str, str], day: str) -> None:
    """Note that the lake has these clips: clip → segment, all of one day of recording. An erased clip stays erased."""
    values: dict[str, Any] = {"segment_id": bindparam("new"), "day": day, "set_aside": None, "awaited_consents": None}
    _update_each(database, values, segments)


def set_aside(database: Database, reasons: Mapping[str, str]) -> None:
    """Note why these clips cannot be used: clip → reason."""
    _update_each(database, {"set_aside": bindparam("new")}, reasons)


def mark_waiting(database: Database, clip_ids: Collection[str], consents: str) -> None:
    """Note that these clips wait for a consent, and the signature of the consents under which they do."""
    _update_each(database, {"awaited_consents": bindparam("new")}, dict.fromkeys(clip_ids, consents))


def requeue_waiting_clips(database: Database, is_unchanged: Callable[[str], bool]) -> int:
    """Make waiting clips readable where the consents have changed since; returns and asks what `requeue_waiting` does."""
    return requeue_waiting(database, CLIPS, is_unread_clip(), is_unchanged)


def requeue_set_aside_clips(database: Database, hour: str) -> int:
    """Make the clips of an hour readable that were set aside; return how many."""
    query = (
        update(CLIPS)
        .where(CLIPS.c.set_aside.is_not(None), CLIPS.c.erased_at.is_(None), CLIPS.c.hour == hour)
        .values(set_aside=None)
    )
    return database.change(lambda connection: connection.execute(query).rowcount)


def read_ingested_clips(database: Database, day: str) -> dict[str, str]:
    """Return clip → segment for the clips that were noted as segments of a day of recording."""
    query = select(CLIPS.c.clip_id, CLIPS.c.segment_id).where(CLIPS.c.day == day, CLIPS.c.erased_at.is_(None))
    with database.read() as connection:
        return {row.clip_id: row.segment_id for row in connection.execute(query)}


def requeue_lost_clips(database: Database, clip_ids: Collection[str]) -> int:
    """Make ingested clips readable whose segments the lake does not have any more; return how many."""
    _update_each(database, {"segment_id": bindparam("new"), "day": None}, dict.fromkeys(clip_ids))
    return len(clip_ids)


def read_hour(database: Database, hour: str) -> ReceivedHour:
    """Return the clips of an hour by state."""
    columns = [CLIPS.c[name] for name in ("clip_id", "segment_id", "set_aside", "awaited_consents")]
    query = select(*columns).where(CLIPS.c.hour == hour, CLIPS.c.erased_at.is_(None)).order_by(CLIPS.c.clip_id)
    with database.read() as connection:
        rows = connection.execute(query).all()
    segments = {row.clip_id: row.segment_id for row in rows if row.segment_id is not None}
    set_aside = {row.clip_id: row.set_aside for row in rows if row.segment_id is None and row.set_aside is not None}
    others = [row for row in rows if row.segment_id is None and row.set_aside is None]
    waiting = sum(row.awaited_consents is not None for row in others)
    return ReceivedHour(segments, set_aside, waiting, len(others) - waiting)


def count_clips(database: Database) -> ClipCounts:
    """Return the number of clips in each state that is not yet, or never will be, a segment."""
    is_waiting = CLIPS.c.awaited_consents.is_not(None)
    unread = select(
        func.count().filter(~is_waiting),
        func.min(CLIPS.c.received_at).filter(~is_waiting),
        func.count().filter(is_waiting),
    ).where(is_unread_clip())
    is_set_aside = and_(CLIPS.c.set_aside.is_not(None), CLIPS.c.erased_at.is_(None))
    hours = select(CLIPS.c.hour, func.count(), func.min(CLIPS.c.set_aside)).where(is_set_aside).group_by(CLIPS.c.hour)
    with database.read() as connection:
        count, oldest, waiting = connection.execute(unread).one()
        rows = connection.execute(hours.order_by(CLIPS.c.hour.desc())).all()
    return ClipCounts(count, oldest, waiting, {row[0]: row[1] for row in rows}, rows[0][2] if rows else "")


def list_upload_days(database: Database) -> list[str]:
    """Return the days of recording that have uploaded clips, in order; the cost depends on the number of days."""
    return list_distinct(database, CLIPS.c.day)


def _update_each(database: Database, values: Mapping[str, Any], by_clip: Mapping[str, str | None]) -> None:
    query = update(CLIPS).where(CLIPS.c.clip_id == bindparam("clip"), CLIPS.c.erased_at.is_(None)).values(dict(values))
    rows = [{"clip": clip_id, "new": new} for clip_id, new in sorted(by_clip.items())]
    update_each(database, query, rows)
