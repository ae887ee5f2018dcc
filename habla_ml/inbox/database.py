"""Open the service's database: SQLite in a file, or PostgreSQL. Every committed write is on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, insert, inspect, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from habla_ml.errors import InputError, LakeError, SettingsError
from habla_ml.inbox.engines import create_postgres_engine, create_sqlite_engine
from habla_ml.inbox.locks import lock_schema
from habla_ml.inbox.schema import METADATA, SCHEMA_STATE, SCHEMA_VERSION
from habla_ml.inbox.writer_queue import WriterQueue
from habla_ml.settings import Settings

Outcome = TypeVar("Outcome")
_CHECKPOINT_ATTEMPTS: Final = 20
_CHECKPOINT_PAUSE_S: Final = 0.5
_SQLITE_NAME: Final = "service.sqlite"
_QUEUE_NAME: Final = "service.sqlite-writers"
_MOST_ATTEMPTS: Final = 5
_PAUSE_AFTER_RACE_S: Final = 0.02
_LOST_RACE_STATES: Final = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and a deadlock: PostgreSQL ended this transaction for the sake of another one."""


class LostRaceError(LakeError):
    """PostgreSQL ended the transaction for the sake of another one; the same transaction can succeed at once."""


class Database:
    """The service's database. Several processes and threads may use it at once."""

    def __init__(self, engine: Engine, writer_queue: WriterQueue | None = None) -> None:
        self.engine = engine
        self._writer_queue = writer_queue or nullcontext()
        self._reader = engine
        if engine.dialect.name == "postgresql":
            # All queries of a block see one state.
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads; raises `LakeError` if the database cannot be used."""
        with _translate_errors(self.engine), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is durable when the block ends, and undone when it raises.

        SQLite has one writer at a time: do nothing slow inside. Raises `LakeError` if the database cannot be used.
        """
        with _translate_errors(self.engine), self._writer_queue, self.engine.begin() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def change(self, work: Callable[[Connection], Outcome]) -> Outcome:
        """Run `work` in a transaction as `write` does, and return its result.

        On PostgreSQL, two transactions that do not see each other yet can insert the same key, or wait for each other.
        One of them is undone. Its `work` runs again and sees what the other one has committed. Raises `IntegrityError` or
        `LakeError` if that does not help.
        """
        for _ in range(_MOST_ATTEMPTS - 1):
            with suppress(IntegrityError, LostRaceError), self.write() as connection:
                return work(connection)
            time.sleep(_PAUSE_AFTER_RACE_S)  # the winner goes on first
        with self.write() as connection:
            return work(connection)

    def purge_deleted(self) -> None:
        """Remove what deleted rows left in the database's files.

        SQLite overwrites a deleted row, but moving rows between pages leaves copies of it, and so does the write-ahead
        log. Writers wait meanwhile. PostgreSQL marks the space of deleted rows as free, and overwrites it later; its
        server keeps its own log and backups. Raises `LakeError` if another process keeps reading an old state, or the
        database cannot be used; run again.
        """
        if self.engine.dialect.name == "postgresql":
            tables = ", ".join(METADATA.tables)
            with _translate_errors(self.engine), self.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"VACUUM {tables}")
            return
        with _translate_errors(self.engine), self.engine.connect() as connection:
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
        SettingsError: The database is of a newer version of habla_ml, or the driver of PostgreSQL is not installed.
        LakeError: It cannot be opened or written.
    """
    service = settings.service
    if service.database:
        database = Database(create_postgres_engine(service.database, service.database_password_variable))
    else:
        engine = create_sqlite_engine(settings.service_folder / _SQLITE_NAME)
        database = Database(engine, WriterQueue(settings.service_folder / _QUEUE_NAME))
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


def _create_tables(database: Database) -> None:
    # Whoever only reads must not wait for the writers.
    with database.read() as connection:
        if inspect(connection).has_table(SCHEMA_STATE.name):
            found = connection.scalar(select(SCHEMA_STATE.c.version))
            if found == SCHEMA_VERSION:
                return
    with database.write() as connection:
        lock_schema(connection)
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
    except IntegrityError:
        # A violated constraint is an answer to the caller; its message has values, but never reaches a log.
        raise
    except DataError as error:
        kind = type(error.orig).__name__
        raise InputError(f"the service's database refuses a value ({kind}); shorten it, or correct it") from error
    except PoolTimeoutError as error:
        raise LakeError("all connections to the service's database are in use; try again later") from error
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        if getattr(error.orig, "sqlstate", None) in _LOST_RACE_STATES:
            raise LostRaceError(f"the service's database {where} preferred another transaction; try again") from error
        raise LakeError(
            f"the service's database {where} cannot be used ({_describe_reason(error)}); start it, free space, or correct "
            "the settings"
        ) from error


def _describe_reason(error: DBAPIError) -> str:
    """Return the kind of an error, with the driver's words only where they cannot quote what was sent."""
    kind = type(error.orig).__name__
    words = str(error.orig).strip().partition("\n")[0]
    return f"{kind}: {words}" if isinstance(error, OperationalError) and words else kind
