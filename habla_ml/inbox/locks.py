"""Locks between transactions on PostgreSQL, held until the transaction ends. On SQLite, one writer at a time needs none.

They are PostgreSQL's advisory locks. Unlike the locks of rows they are granted in turn, so that uploads without a pause
do not keep a withdrawal waiting, and they write nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, TextClause, text

_SHARED: Final = text("SELECT pg_advisory_xact_lock_shared(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
_EXCLUSIVE: Final = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")


def hold_contributors(connection: Connection, contributor_keys: Collection[str]) -> None:
    """Let nobody change the consents of these contributors until the transaction ends.

    What the transaction stores is stored before a withdrawal, or not at all. Read the consents after this call. Keys are
    the canonical forms of the pseudonyms.
    """
    _lock(connection, _SHARED, "contributor", contributor_keys)


def lock_contributor(connection: Connection, contributor_key: str) -> None:
    """Let nobody else change the consents of a contributor, nor store under them, until the transaction ends."""
    _lock(connection, _EXCLUSIVE, "contributor", [contributor_key])


def lock_schema(connection: Connection) -> None:
    """Let nobody else create tables until the transaction ends."""
    _lock(connection, _EXCLUSIVE, "schema", [""])


def _lock(connection: Connection, statement: TextClause, kind: str, names: Collection[str]) -> None:
    if connection.dialect.name != "postgresql" or not names:
        return
    # All take several locks in the same order, so that no two wait for each other.
    connection.execute(statement, {"keys": sorted({_number(kind, each) for each in names})})


def _number(kind: str, name: str) -> int:
    digest = hashlib.sha256(f"habla_ml {kind} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
