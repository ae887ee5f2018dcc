"""Counters of requests and bytes in fixed windows of time, which all workers on a machine share.

They live in an SQLite file of their own that is not flushed to the disk. Memory would count each worker separately, and
the service's database would pay for every request with a flush that only clips need. A killed process loses no count; a
power failure may. Several machines behind one address count separately.
"""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime
from pathlib import Path
from typing import Final

from habla_ml.errors import LakeError

_BUSY_TIMEOUT_S: Final = 5.0
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS counters (key TEXT, ends_at INTEGER, amount INTEGER, PRIMARY KEY (key, ends_at))"
)
_ADD: Final = (
    "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount RETURNING amount"
)


class RequestCounters:
    """The counters in a file. Several processes and threads may use it at once."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", _SCHEMA):
                self._connection.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise LakeError(f"request counters {path} cannot be used: {error}; set service.folder") from error
        self._lock = threading.Lock()

    def add(self, key: str, amount: int, window_s: int, now: datetime) -> int:
        """Add to a counter and return its total in the present window of `window_s` seconds.

        Raises `LakeError` if the file cannot be used.
        """
        seconds = int(now.timestamp())
        try:
            with self._lock:
                total: int = self._connection.execute(_ADD, (key, end_of_window(window_s, now), amount)).fetchall()[0][
                    0
                ]
                if total == amount:
                    self._connection.execute("DELETE FROM counters WHERE ends_at <= ?", (seconds,))
        except sqlite3.Error as error:
            raise LakeError(f"the request counters cannot be used: {error}; free space") from error
        return total

    def read(self, key: str, window_s: int, now: datetime) -> int:
        """Return the total of a counter in the present window; raises `LakeError` if the file cannot be used."""
        found = (key, end_of_window(window_s, now))
        try:
            with self._lock:
                rows = self._connection.execute("SELECT amount FROM counters WHERE key = ? AND ends_at = ?", found)
                return sum(row[0] for row in rows)
        except sqlite3.Error as error:
            raise LakeError(f"the request counters cannot be used: {error}; free space") from error


def end_of_window(window_s: int, now: datetime) -> int:
    """Return the end of the present window in seconds since 1970."""
    return (int(now.timestamp()) // window_s + 1) * window_s
