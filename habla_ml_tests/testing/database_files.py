"""The bytes that the service's database has in its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from habla_ml.inbox.database import Database


def read_database_files(database: Database) -> bytes:
    """Return all bytes of the files of the database, the log of PostgreSQL included."""
    return b"".join(each.read_bytes() for each in _list_files(database) if each.is_file())


def _list_files(database: Database) -> Iterator[Path]:
    if database.engine.dialect.name == "sqlite":
        path = Path(str(database.engine.url.database))
        yield from path.parent.glob(f"{path.name}*")
        return
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("CHECKPOINT"))
        folder = Path(connection.scalar(text("SHOW data_directory")))
        number = connection.scalar(text("SELECT oid FROM pg_database WHERE datname = current_database()"))
    yield from (folder / "base" / str(number)).iterdir()
    yield from (folder / "pg_wal").iterdir()
