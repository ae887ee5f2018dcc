"""Rows that wait for a consent, and the distinct values of a column, for all tables that the pipeline reads."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Column, ColumnElement, Table, func, select, update

from habla_ml.inbox.database import Database


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
    with database.write() as connection:
        return connection.execute(query).rowcount


def list_distinct(database: Database, column: Column[str]) -> list[str]:
    """Return the distinct values of an indexed column in order; each costs one look into the index, however many rows."""
    first = select(func.min(column).label("value")).where(column.is_not(None)).cte("found", recursive=True)
    following = select(func.min(column)).where(column > first.c.value).scalar_subquery()
    found = first.union_all(select(following).where(first.c.value.is_not(None)))
    with database.read() as connection:
        return list(connection.scalars(select(found.c.value).where(found.c.value.is_not(None))))
