"""The connections to the service's database: SQLite in a file, or PostgreSQL. Both write a commit to the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from habla_ml.errors import LakeError, SettingsError
from habla_ml.inbox.write_ahead_log import use_write_ahead_log

_BUSY_TIMEOUT_MS: Final = 30_000
_POSTGRES_CONNECTIONS: Final = 10
"""Of one process at most. Transactions are short, and threads wait for a free connection; a server has about 100."""
_POSTGRES_OPTIONS: Final[dict[str, str]] = {
    "application_name": "habla-ml",
    # A server that is switched off or cut off must not stop a worker for hours, nor the reverse: the transaction of a
    # machine that is gone holds locks until the server ends it.
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "tcp_user_timeout": "30000",
    "options": (
        f"-c synchronous_commit=on -c idle_in_transaction_session_timeout=60s -c lock_timeout={_BUSY_TIMEOUT_MS}ms"
    ),
}
"""Options of libpq; those in the address come first."""


def create_sqlite_engine(path: Path) -> Engine:
    """Return the engine of an SQLite file; its folder is created. Raises `LakeError` if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LakeError(f"service folder {path.parent} cannot be created: {error}; set service.folder") from error
    # A failed statement's parameters can be a transcript, and its error can reach a log.
    engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, pool_size=8, max_overflow=32, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # Transactions begin where `write` says so; a lock that is taken late would fail at once.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        use_write_ahead_log(connection, _BUSY_TIMEOUT_MS / 1000)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def create_postgres_engine(address: str, password_variable: str) -> Engine:
    """Return the engine of a PostgreSQL database; its password is in the variable, or libpq finds one.

    Raises `SettingsError` if the address is none, or the driver is not installed.
    """
    url = _parse_address(address)
    password = os.environ.get(password_variable)
    try:
        from habla_ml.inbox.postgres_connection import ImpatientConnection

        engine = create_engine(
            url.set(drivername="postgresql+psycopg", password=password or None),
            connect_args={key: value for key, value in _POSTGRES_OPTIONS.items() if key not in url.query},
            isolation_level="READ COMMITTED",
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_BUSY_TIMEOUT_MS / 1000,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError as error:
        raise SettingsError(
            f"service.database is {address}, and the driver of PostgreSQL cannot be loaded ({error}); "
            "run pip install 'habla-ml[postgres]'"
        ) from None

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> ImpatientConnection:
        return ImpatientConnection.connect(*arguments, **options)

    return engine


def _parse_address(address: str) -> URL:
    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "service.database is no address of a database; use postgresql://USER@HOST:PORT/DATABASE"
        ) from None
