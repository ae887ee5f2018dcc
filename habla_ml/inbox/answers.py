"""The answers that people give on the page: saved once, taken back, and listed.

The browser makes the `answer_id`, so that it can repeat a request until it gets a response. Nothing is ever changed: a person
who takes an answer back adds one, as does a person who corrects it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from habla_ml.errors import InputError
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import ANSWERS
from habla_ml.names import canonical_name

SKIPPED: Final = "skipped"
"""The person does not want to answer; others get the segment."""
RESUMED: Final = "resumed"
"""Takes back that the person skipped the segment. The pipeline reads neither."""
WITHDRAWN: Final = "withdrawn"
"""Takes back all answers of the person on the segment."""
_ANSWERING: Final = ("corrected", "confirmed", "unusable")
_IDS_PER_QUERY: Final = 500


@dataclass(frozen=True)
class Answer:
    """What one person said of one segment on the page."""

    answer_id: str
    segment_id: str
    session_id: str
    day: str
    """The segment's day of recording."""
    text: str
    """As typed; for a confirmation the text that was shown."""
    status: str
    """`corrected`, `confirmed`, `unusable`, `skipped`, or what takes these back: `withdrawn`, `resumed`."""
    reason: str
    """Why the segment is unusable; else empty."""
    speaker: str
    """Who speaks, where the person changed it; else empty."""
    person: str
    created_at: datetime
    """Aware; when the person answered, which can be long before the request came."""
    seen_text: str | None
    """The text that the page showed; None for a blind segment."""
    model_version: str
    attempt: int
    is_blind: bool

    @property
    def is_answer(self) -> bool:
        """Whether it says something of the segment."""
        return self.status in _ANSWERING

    @property
    def content(self) -> tuple[str, ...]:
        """What two answers with the same id must have in common; a repeated request has another time."""
        return (self.segment_id, self.text, self.status, self.reason, self.speaker)


def save_answer(database: Database, answer: Answer) -> Answer:
    """Store an answer and return it as stored; a repeated one is not stored again.

    Raises:
        InputError: Another answer, or an answer of another person, has this id.
        LakeError: The database cannot be used; the same request may be repeated.
    """
    saved = database.change(lambda connection: _find_or_insert(connection, answer))
    if (saved.content, saved.person) != (answer.content, answer.person):
        raise InputError(f"answer {answer.answer_id} exists with other content; give the new answer a new id")
    return saved


def _find_or_insert(connection: Connection, answer: Answer) -> Answer:
    known = _read(connection, [ANSWERS.c.answer_id == answer.answer_id])
    if known:
        return known[0]
    newest = _read_newest_time(connection, answer)
    # Order must not depend on the clock of a browser: a later answer of the same person is the newer one.
    if newest is not None and answer.created_at <= newest:
        answer = replace(answer, created_at=newest + timedelta.resolution)
    connection.execute(insert(ANSWERS).values(**asdict(answer)))
    return answer


def find_answer(database: Database, answer_id: str) -> Answer | None:
    """Return an answer by its id, or None."""
    with database.read() as connection:
        return next(iter(_read(connection, [ANSWERS.c.answer_id == answer_id])), None)


def make_undo(undone: Answer, answer_id: str, now: datetime) -> Answer:
    """Return the answer that takes another one back."""
    status = RESUMED if undone.status == SKIPPED else WITHDRAWN
    return replace(undone, answer_id=answer_id, created_at=now, status=status, text="", reason="", speaker="")


def read_history(database: Database, segment_id: str) -> list[Answer]:
    """Return all that was answered on a segment, by time."""
    with database.read() as connection:
        return _read(connection, [ANSWERS.c.segment_id == segment_id])


def read_histories(database: Database, segment_ids: Collection[str]) -> dict[str, list[Answer]]:
    """Return segment → its answers by time, for those of the segments that have any."""
    ids, found = sorted(segment_ids), list[Answer]()
    with database.read() as connection:
        for start in range(0, len(ids), _IDS_PER_QUERY):
            found += _read(connection, [ANSWERS.c.segment_id.in_(ids[start : start + _IDS_PER_QUERY])])
    found.sort(key=lambda each: each.segment_id)
    return {segment: list(group) for segment, group in groupby(found, key=lambda each: each.segment_id)}


def list_named_speakers(database: Database, day: str, session_id: str) -> list[str]:
    """Return who people said speaks in a session of a day."""
    columns = ANSWERS.c
    query = select(columns.speaker).distinct().where(columns.day == day, columns.session_id == session_id)
    with database.read() as connection:
        return list(connection.scalars(query.where(columns.speaker != "").order_by(columns.speaker)))


def choose_latest(history: Iterable[Answer]) -> Mapping[str, Answer]:
    """Return person → the answer that counts; `history` is one segment's, by time.

    A person is given by the canonical name. Who took the answer back is left out; who skipped is there.
    """
    latest: dict[str, Answer] = {}
    for each in history:
        key = canonical_name(each.person)
        if each.status == WITHDRAWN:
            latest.pop(key, None)
        elif each.status == RESUMED:
            if key in latest and latest[key].status == SKIPPED:
                del latest[key]
        elif each.is_answer or key not in latest or not latest[key].is_answer or each.attempt > latest[key].attempt:
            latest[key] = each
    return latest


def count_answered_segments(database: Database, person: str, since: datetime) -> int:
    """Return on how many segments the person has answered since that time, without those taken back since."""
    key = canonical_name(person)
    with database.read() as connection:
        rows = _read(connection, [ANSWERS.c.created_at >= since])
    rows.sort(key=lambda each: each.segment_id)
    groups = (choose_latest(group) for _, group in groupby(rows, key=lambda each: each.segment_id))
    return sum(1 for latest in groups if key in latest and latest[key].is_answer)


def _read(connection: Connection, conditions: list[Any]) -> list[Answer]:
    columns = [ANSWERS.c[name] for name in Answer.__dataclass_fields__]
    query = select(*columns).where(*conditions).order_by(ANSWERS.c.created_at, ANSWERS.c.answer_id)
    return [Answer(**row) for row in connection.execute(query).mappings()]


def _read_newest_time(connection: Connection, answer: Answer) -> datetime | None:
    same = (ANSWERS.c.segment_id == answer.segment_id, ANSWERS.c.person == answer.person)
    found: datetime | None = connection.scalar(select(func.max(ANSWERS.c.created_at)).where(*same))
    return found
