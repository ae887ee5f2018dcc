"""A look at what is unread costs what is unread, however much was read before."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text, update

from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import ANSWERS, CLIPS, DATA_POINTS
from habla_ml.inbox.unread_clips import count_clips, date_future_clips, find_unread_hours, list_upload_days
from habla_ml.inbox.unread_texts import count_data_points, find_days_with_answers, find_days_with_data_points
from habla_ml_tests.testing.habla_sessions import NOW
from habla_ml_tests.testing.received_clips import DAY, RECEIVED, Inbox, make_clip_id, make_inbox

LOOKS: tuple[Callable[[Database], object], ...] = (
    find_unread_hours,
    list_upload_days,
    count_clips,
    find_days_with_data_points,
    count_data_points,
    find_days_with_answers,
)


def add_read_rows(inbox: Inbox, start: int, count: int) -> None:
    """Add clips of an hour that are in the lake, each with a collected data point and answer."""
    numbers = range(start, start + count)
    first = inbox.receive(start)
    inbox.add_data_point(start, clip=start, text="Hola.")
    segment = {"segment_id": make_clip_id(start), "session_id": "s", "day": DAY}
    inbox.add_answer(start, segment, "Hola.")
    done = {"segment_id": make_clip_id(start), "day": DAY}
    with inbox.database.write() as connection:
        connection.execute(update(CLIPS).where(CLIPS.c.clip_id == first).values(done))
        connection.execute(update(DATA_POINTS).values(collected_at=NOW))
        connection.execute(update(ANSWERS).values(collected_at=NOW))
        for table, key in ((CLIPS, "clip_id"), (DATA_POINTS, "data_point_id"), (ANSWERS, "answer_id")):
            row = dict(connection.execute(table.select().limit(1)).mappings().one())
            copies = [{**row, key: make_clip_id(10_000 * len(key) + number)} for number in numbers[1:]]
            connection.execute(insert(table), copies)


def count_rows(database: Database, look: Callable[[Database], object]) -> int:
    """Return the rows that PostgreSQL reads for a look, of tables and indexes."""
    asked: list[tuple[str, dict[str, object]]] = []

    def note(_c: object, _u: object, statement: str, parameters: dict[str, object], *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        look(database)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    with database.read() as connection:
        explain = "EXPLAIN (ANALYZE, FORMAT JSON) "
        plans = [connection.exec_driver_sql(explain + query, values).scalar_one() for query, values in asked]
    return sum(sum_rows(plan[0]["Plan"]) for plan in plans)


def sum_rows(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int(own * node["Actual Loops"]) + sum(map(sum_rows, node.get("Plans", [])))


def count_steps(database: Database, look: Callable[[Database], object]) -> int:
    """Return the instructions of SQLite's virtual machine that a look takes."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watch(connection: object, *_: object) -> None:
        connection.set_progress_handler(count, 1)  # type: ignore[attr-defined]

    event.listen(database.engine, "checkout", watch)
    try:
        look(database)
    finally:
        event.remove(database.engine, "checkout", watch)
    return steps


@pytest.mark.parametrize("look", LOOKS, ids=lambda each: each.__name__)
def test_a_look_costs_what_is_unread(
    tmp_path: Path, service_section: dict[str, str], look: Callable[[Database], object]
) -> None:
    inbox = make_inbox(tmp_path, service=service_section)
    measure = count_steps if inbox.database.engine.dialect.name == "sqlite" else count_rows
    add_read_rows(inbox, 1_000, 20)
    inbox.receive(1, received_at=RECEIVED + timedelta(hours=1))
    inbox.add_data_point(1, clip=1, text="Hola.")
    before, found = measure(inbox.database, look), look(inbox.database)
    add_read_rows(inbox, 2_000, 2_000)
    with inbox.database.write() as connection:
        connection.execute(
            update(DATA_POINTS).where(DATA_POINTS.c.clip_id == make_clip_id(1)).values(collected_at=None)
        )
    assert look(inbox.database) == found
    if measure is count_rows:
        with inbox.database.write() as connection:
            connection.execute(text("ANALYZE"))  # as the server itself does after some minutes
    else:
        assert measure(inbox.database, look) >= before
    assert measure(inbox.database, look) <= before + 100


def test_clips_that_a_clock_ahead_has_dated_can_be_read_now(tmp_path: Path, service_section: dict[str, str]) -> None:
    inbox = make_inbox(tmp_path, service=service_section)
    now = RECEIVED + timedelta(minutes=5)
    inbox.receive(1)
    inbox.receive(2, received_at=now + timedelta(hours=23))  # the clock of the pipeline can be behind
    future = inbox.receive(3, received_at=now + timedelta(days=900), recorded_at=None)
    assert date_future_clips(inbox.database, now) == 1
    hours = {each.hour: each.clips for each in find_unread_hours(inbox.database)}
    assert hours == {"2026-03-02T10": 2, "2026-03-03T09": 1}
    assert inbox.read_clip(future)["received_at"] == now
    assert date_future_clips(inbox.database, now) == 0
    assert inbox.ingest(now=now).segments == 2
    assert len(inbox.read_segments(DAY)) == 2
