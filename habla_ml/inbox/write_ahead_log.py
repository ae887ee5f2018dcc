"""The write-ahead log of SQLite, which several processes may switch on at once."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_RETRY_S: Final = 0.01


def use_write_ahead_log(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Switch a database to its write-ahead log, so that readers and a writer do not wait for each other.

    SQLite answers "database is locked" at once, whatever its busy timeout, if another process switches the file at the same
    time. So this tries again for `timeout_s`, and then raises `sqlite3.OperationalError`.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or time.monotonic() >= deadline_s:
                raise
            time.sleep(_RETRY_S)
        else:
            return
