"""Open the service's database: SQLite in a file, or PostgreSQL. Every committed write is on the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from habla_ml.errors import LakeError, SettingsError
from habla_ml.inbox.schema import METADATA, SCHEMA_STATE, SCHEMA_VERSION
from habla_ml.settings import Settings

_BUSY_TIMEOUT_MS: Final = 30_000
_CHECKPOINT_ATTEMPTS: Final = 20
_CHECKPOINT_PAUSE_S: Final = 0.5
_SQLITE_NAME: Final = "service.sqlite"


class Database:
    """The service's database. Several processes and threads may use it at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads; raises `LakeError` if the database cannot be used."""
        with _translate_errors(self.engine), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is durable when the block ends, and undone when it raises.

        SQLite has one writer at a time: do nothing slow inside. Raises `LakeError` if the database cannot be used.
        """
        with _translate_errors(self.engine), self.engine.begin() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def purge_deleted(self) -> None:
        """Remove what deleted rows left in the database's files.

        SQLite overwrites a deleted row, but moving rows between pages leaves copies of it, and so does the write-ahead
        log. Writers wait meanwhile. A PostgreSQL server keeps its own log and backups. Raises `LakeError` if another
        process keeps reading an old state, or the database cannot be used; run again.
        """
        with _translate_errors(self.engine), self.engine.connect() as connection:
            if self.engine.dialect.name != "sqlite":
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM")
                return
            connection.exec_driver_sql("VACUUM")
            for _ in range(_CHECKPOINT_ATTEMPTS):
                is_busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                if not is_busy:
                    return
                time.sleep(_CHECKPOINT_PAUSE_S)
        raise LakeError("the service's database is in use and cannot be compacted; run again")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """Open the database of a deployment and create what it lacks.

    Raises:
        SettingsError: The database is of a newer version of habla_ml.
        LakeError: It cannot be opened or written.
    """
    if settings.service.database:
        engine = create_engine(settings.service.database, pool_pre_ping=True)
    else:
        engine = _create_sqlite_engine(settings.service_folder / _SQLITE_NAME)
    database = Database(engine)
    _create_tables(database)
    return database


@contextmanager
def open_existing_database(settings: Settings) -> Iterator[Database | None]:
    """Open the database of a deployment for a block, or None where no service was ever started.

    Raises the errors of `open_database`.
    """
    if not settings.service.database and not (settings.service_folder / _SQLITE_NAME).exists():
        yield None
        return
    database = open_database(settings)
    try:
        yield database
    finally:
        database.close()


def _create_sqlite_engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LakeError(f"service folder {path.parent} cannot be created: {error}; set service.folder") from error
    engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # Transactions begin where `write` says so; a lock that is taken late would fail at once.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _create_tables(database: Database) -> None:
    # Whoever only reads must not wait for the writers.
    with database.read() as connection:
        if inspect(connection).has_table(SCHEMA_STATE.name):
            found = connection.scalar(select(SCHEMA_STATE.c.version))
            if found == SCHEMA_VERSION:
                return
    with database.write() as connection:
        METADATA.create_all(connection)
        found = connection.scalar(select(SCHEMA_STATE.c.version))
        if found is None:
            connection.execute(insert(SCHEMA_STATE).values(version=SCHEMA_VERSION))
    if found is not None and found > SCHEMA_VERSION:
        raise SettingsError(
            f"the service's database has schema version {found}, this habla_ml knows {SCHEMA_VERSION}; install the newer one"
        )


@contextmanager
def _translate_errors(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # A violated constraint is an answer to the caller; its message has values, but never reaches a log.
        if isinstance(error.orig, sqlite3.IntegrityError) or type(error.orig).__name__.endswith("Violation"):
            raise
        where = engine.url.render_as_string(hide_password=True)
        reason = type(error.orig).__name__
        raise LakeError(f"the service's database {where} cannot be used ({reason}); free space or start it") from error
