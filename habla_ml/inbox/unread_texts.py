"""The data points of devices and the answers on the page that the log of annotations does not have yet.

A data point can be read once its clip is a segment. A query costs what it finds and the data points that wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, select, update

from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import ANSWERS, CLIPS, DATA_POINTS, HAND_OUTS
from habla_ml.inbox.waiting import list_distinct, requeue_waiting, update_each

_ROWS_PER_QUERY: Final = 500


@dataclass(frozen=True)
class UnreadDay:
    """A day of recording with texts that can be read."""

    day: str
    texts: int
    newest_at: datetime
    """When the newest of them was received or made."""


@dataclass(frozen=True)
class UnreadDataPoint:
    """A text of a device, and the segment that its clip has become."""

    device_id: str
    data_point_id: str
    text: str
    status: str
    reason: str
    corrected_at: datetime
    received_at: datetime
    language: str
    model_version: str
    seen_text: str | None
    segment_id: str
    contributor: str | None
    clip_device_id: str
    session: str
    recorded_at: datetime | None
    """Of the clip, as the device said."""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it in the inbox."""
        return self.device_id, self.data_point_id


@dataclass(frozen=True)
class UnreadAnswer:
    """A person's answer on the page."""

    answer_id: str
    segment_id: str
    session_id: str
    text: str
    status: str
    reason: str
    speaker: str
    """Who speaks, where the person changed it; else empty."""
    person: str
    created_at: datetime
    seen_text: str | None
    model_version: str
    attempt: int
    is_blind: bool


@dataclass(frozen=True)
class DataPointCounts:
    """The data points that are no annotation, by reason."""

    without_clip: int
    """Their clip has not come, is not in the lake yet, or was set aside."""
    waiting_for_consent: int
    set_aside: int


def find_days_with_data_points(database: Database) -> list[UnreadDay]:
    """Return the days of recording with data points that can be read now, in order."""
    found = select(CLIPS.c.day, func.count(), func.max(DATA_POINTS.c.received_at)).group_by(CLIPS.c.day)
    return _read_days(database, _select_data_points(found).order_by(CLIPS.c.day))


def read_data_points(database: Database, day: str) -> list[UnreadDataPoint]:
    """Return the data points on clips of a day of recording that can be read now, by device and id."""
    points, clips = DATA_POINTS.c, CLIPS.c
    columns = [
        *(points[name] for name in ("device_id", "data_point_id", "text", "status", "reason", "corrected_at")),
        *(points[name] for name in ("received_at", "language", "model_version", "seen_text")),
        *(clips.segment_id, clips.contributor, clips.device_id.label("clip_device_id"), clips.session),
        clips.recorded_at,
    ]
    query = _select_data_points(select(*columns)).where(clips.day == day).order_by(*DATA_POINTS.primary_key)
    with database.read() as connection:
        return [UnreadDataPoint(**row) for row in connection.execute(query).mappings()]


def close_data_points(database: Database, keys: Collection[tuple[str, str]], **values: Any) -> None:
    """Set columns of data points, given by `UnreadDataPoint.key`: `collected_at`, `set_aside` or `awaited_consents`."""
    points = DATA_POINTS.c
    match = and_(points.device_id == bindparam("device"), points.data_point_id == bindparam("point"))
    query = update(DATA_POINTS).where(match).values(values)
    update_each(database, query, [{"device": device, "point": point} for device, point in sorted(keys)])


def requeue_waiting_data_points(database: Database, is_unchanged: Callable[[str], bool]) -> int:
    """Make waiting data points readable where the consents have changed; see `requeue_waiting`."""
    return requeue_waiting(database, DATA_POINTS, _is_unread_data_point(), is_unchanged)


def delete_texts_of_erased_clips(database: Database) -> int:
    """Delete the unread data points on clips that were erased, which a device sent after the erasure; return how many."""
    joined = DATA_POINTS.join(CLIPS, DATA_POINTS.c.clip_id == CLIPS.c.clip_id)
    query = select(DATA_POINTS.c.clip_id).select_from(joined).distinct()
    with database.read() as connection:
        late = connection.scalars(query.where(_is_unread_data_point(), CLIPS.c.erased_at.is_not(None))).all()
    deleted = 0
    for start in range(0, len(late), _ROWS_PER_QUERY):
        with database.write() as connection:
            rows = delete(DATA_POINTS).where(DATA_POINTS.c.clip_id.in_(late[start : start + _ROWS_PER_QUERY]))
            deleted += connection.execute(rows).rowcount
    return deleted


def count_data_points(database: Database) -> DataPointCounts:
    """Return how many data points are no annotation yet, or cannot be one."""
    is_waiting = DATA_POINTS.c.awaited_consents.is_not(None)
    joined = DATA_POINTS.outerjoin(CLIPS, DATA_POINTS.c.clip_id == CLIPS.c.clip_id)
    unread = select(func.count().filter(CLIPS.c.segment_id.is_(None)), func.count().filter(is_waiting))
    aside = select(func.count()).select_from(DATA_POINTS).where(DATA_POINTS.c.set_aside.is_not(None))
    with database.read() as connection:
        without_clip, waiting = connection.execute(unread.select_from(joined).where(_is_unread_data_point())).one()
        return DataPointCounts(without_clip, waiting, connection.scalar(aside) or 0)


def find_days_with_answers(database: Database) -> list[UnreadDay]:
    """Return the days of recording with answers that can be read now, in order."""
    found = select(ANSWERS.c.day, func.count(), func.max(ANSWERS.c.created_at)).group_by(ANSWERS.c.day)
    return _read_days(database, _select_answers(found).order_by(ANSWERS.c.day))


def read_answers(database: Database, day: str) -> list[UnreadAnswer]:
    """Return the answers on segments of a day that can be read now, by time and id."""
    columns = [ANSWERS.c[name] for name in UnreadAnswer.__dataclass_fields__]
    query = _select_answers(select(*columns)).where(ANSWERS.c.day == day)
    with database.read() as connection:
        rows = connection.execute(query.order_by(ANSWERS.c.created_at, ANSWERS.c.answer_id)).mappings()
        return [UnreadAnswer(**row) for row in rows]


def list_unread_speakers(database: Database) -> list[tuple[str, str, str, str]]:
    """Return segment, session, day of recording and speaker of the answers that name a speaker and are unread or wait."""
    columns = (ANSWERS.c.segment_id, ANSWERS.c.session_id, ANSWERS.c.day, ANSWERS.c.speaker)
    query = select(*columns).where(ANSWERS.c.collected_at.is_(None), ANSWERS.c.speaker != "")
    with database.read() as connection:
        return [(row.segment_id, row.session_id, row.day, row.speaker) for row in connection.execute(query)]


def close_answers(database: Database, answer_ids: Collection[str], **values: Any) -> None:
    """Set columns of answers: `collected_at` or `awaited_consents`."""
    query = update(ANSWERS).where(ANSWERS.c.answer_id == bindparam("answer")).values(values)
    update_each(database, query, [{"answer": each} for each in sorted(answer_ids)])


def requeue_waiting_answers(database: Database, is_unchanged: Callable[[str], bool]) -> int:
    """Make waiting answers readable where the consents have changed; see `requeue_waiting`."""
    return requeue_waiting(database, ANSWERS, ANSWERS.c.collected_at.is_(None), is_unchanged)


def requeue_collected_texts(database: Database, since: datetime) -> int:
    """Make the data points and answers readable that were collected since this time; return how many."""

    def requeue(connection: Connection) -> int:
        queries = (update(each).where(each.c.collected_at >= since) for each in (DATA_POINTS, ANSWERS))
        return sum(connection.execute(each.values(collected_at=None)).rowcount for each in queries)

    return database.change(requeue)


def list_answered_days(database: Database) -> list[str]:
    """Return the days of recording that have answers, in order; the cost depends on the number of days."""
    return list_distinct(database, ANSWERS.c.day)


def delete_answers_of(database: Database, segment_ids: Collection[str]) -> int:
    """Delete the answers on these segments, and the texts that the page showed of them; return how many answers."""
    ids, deleted = sorted(segment_ids), 0
    for start in range(0, len(ids), _ROWS_PER_QUERY):
        some = ids[start : start + _ROWS_PER_QUERY]
        with database.write() as connection:
            connection.execute(delete(HAND_OUTS).where(HAND_OUTS.c.segment_id.in_(some)))
            deleted += connection.execute(delete(ANSWERS).where(ANSWERS.c.segment_id.in_(some))).rowcount
    return deleted


def _is_unread_data_point() -> ColumnElement[bool]:
    return and_(DATA_POINTS.c.collected_at.is_(None), DATA_POINTS.c.set_aside.is_(None))


def _select_data_points(query: Select[Any]) -> Select[Any]:
    joined = DATA_POINTS.join(CLIPS, DATA_POINTS.c.clip_id == CLIPS.c.clip_id)
    is_readable = and_(_is_unread_data_point(), DATA_POINTS.c.awaited_consents.is_(None))
    return query.select_from(joined).where(is_readable, CLIPS.c.segment_id.is_not(None), CLIPS.c.erased_at.is_(None))


def _select_answers(query: Select[Any]) -> Select[Any]:
    return query.where(ANSWERS.c.collected_at.is_(None), ANSWERS.c.awaited_consents.is_(None))


def _read_days(database: Database, query: Select[Any]) -> list[UnreadDay]:
    with database.read() as connection:
        return [UnreadDay(*row) for row in connection.execute(query)]
