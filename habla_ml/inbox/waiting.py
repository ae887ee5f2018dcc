"""Changes of many rows, rows that wait for a consent, and distinct values, for all tables that the pipeline reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Table, Update, func, select, update

from habla_ml.inbox.database import Database

_ROWS_PER_WRITE: Final = 500


def update_each(database: Database, query: Update, parameters: Sequence[Mapping[str, Any]]) -> None:
    """Run an update for each of the parameters, some hundreds in one transaction.

    Give the parameters in an order that all callers share, so that no two transactions wait for each other.
    """
    for start in range(0, len(parameters), _ROWS_PER_WRITE):
        database.change(partial(_execute, query=query, parameters=parameters[start : start + _ROWS_PER_WRITE]))


def requeue_waiting(
    database: Database, table: Table, is_unread: ColumnElement[bool], is_unchanged: Callable[[str], bool]
) -> int:
    """Make the unread rows of a table readable that wait for a consent, where the consents have changed since.

    `is_unchanged` gets the signature of the consents under which rows began to wait; it is not called where none waits.
    Return how many rows can be read now.
    """
    signature = table.c.awaited_consents
    with database.read() as connection:
        known = connection.scalars(select(signature).where(is_unread, signature.is_not(None)).distinct()).all()
    changed = [each for each in known if not is_unchanged(each)]
    if not changed:
        return 0
    query = update(table).where(is_unread, signature.in_(changed)).values(awaited_consents=None)
    return database.change(lambda connection: connection.execute(query).rowcount)


def list_distinct(database: Database, column: Column[str]) -> list[str]:
    """Return the distinct values of an indexed column in order; each costs one look into the index, however many rows."""
    first = select(func.min(column).label("value")).where(column.is_not(None)).cte("found", recursive=True)
    following = select(func.min(column)).where(column > first.c.value).scalar_subquery()
    found = first.union_all(select(following).where(first.c.value.is_not(None)))
    with database.read() as connection:
        return list(connection.scalars(select(found.c.value).where(found.c.value.is_not(None))))


def _execute(connection: Connection, query: Update, parameters: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(query, parameters)
