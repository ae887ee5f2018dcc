"""Counters of requests and bytes in fixed windows of time, which all workers on a machine share.

A worker counts in its memory and adds its counts once a second to an SQLite file, which is not flushed to the disk. So a
total can lack what the other workers counted within a second. A killed process loses as much, and a power failure may
lose all. Several machines behind one address count separately.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from habla_ml.errors import LakeError
from habla_ml.inbox.write_ahead_log import use_write_ahead_log

_SHARED_EVERY_S: Final = 1.0
_FORGOTTEN_EVERY_S: Final = 60
_BUSY_TIMEOUT_S: Final = 5.0
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS counters (key TEXT, ends_at INTEGER, amount INTEGER, PRIMARY KEY (key, ends_at))"
)
_ADD: Final = (
    "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount RETURNING amount"
)


@dataclass
class _Counter:
    """What a worker knows of a counter."""

    shared: int
    """The total of all workers when this one shared last."""
    own: int
    """What this worker has counted since."""
    shared_at: float
    """On the monotonic clock, in seconds."""


class RequestCounters:
    """The counters in a file. Several processes and threads may use it at once."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            use_write_ahead_log(self._connection, _BUSY_TIMEOUT_S)
            for statement in ("PRAGMA synchronous=OFF", _SCHEMA):
                self._connection.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise LakeError(f"request counters {path} cannot be used: {error}; set service.folder") from error
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, int], _Counter] = {}
        self._forgets_at = 0

    def add(self, key: str, amount: int, window_s: int, now: datetime, *, at_once: bool = False) -> int:
        """Add to a counter and return its total in the present window of `window_s` seconds.

        With `at_once` the total has everything that other workers counted. Raises `LakeError` if the file cannot be used.
        """
        ends_at = end_of_window(window_s, now)
        with self._lock:
            counter = self._counters.get((key, ends_at))
            if counter is None:
                self._forget_ended(int(now.timestamp()))
                counter = self._counters[key, ends_at] = _Counter(0, 0, float("-inf"))
            counter.own += amount
            if at_once or time.monotonic() - counter.shared_at >= _SHARED_EVERY_S:
                self._share(key, ends_at, counter)
            return counter.shared + counter.own

    def read(self, key: str, window_s: int, now: datetime) -> int:
        """Return the total of a counter in the present window; raises `LakeError` if the file cannot be used."""
        found = (key, end_of_window(window_s, now))
        try:
            with self._lock:
                rows = self._connection.execute("SELECT amount FROM counters WHERE key = ? AND ends_at = ?", found)
                own = self._counters[found].own if found in self._counters else 0
                total: int = sum(row[0] for row in rows)
                return total + own
        except sqlite3.Error as error:
            raise LakeError(f"the request counters cannot be used: {error}; free space") from error

    def _share(self, key: str, ends_at: int, counter: _Counter) -> None:
        try:
            ((counter.shared,),) = self._connection.execute(_ADD, (key, ends_at, counter.own)).fetchall()
        except sqlite3.Error as error:
            raise LakeError(f"the request counters cannot be used: {error}; free space") from error
        counter.own, counter.shared_at = 0, time.monotonic()

    def _forget_ended(self, now_s: int) -> None:
        """Remove the counters whose window has ended, now and then."""
        if now_s < self._forgets_at:
            return
        self._counters = {key: each for key, each in self._counters.items() if key[1] > now_s}
        try:
            self._connection.execute("DELETE FROM counters WHERE ends_at <= ?", (now_s,))
        except sqlite3.Error as error:
            raise LakeError(f"the request counters cannot be used: {error}; free space") from error
        self._forgets_at = now_s + _FORGOTTEN_EVERY_S


def end_of_window(window_s: int, now: datetime) -> int:
    """Return the end of the present window in seconds since 1970."""
    return (int(now.timestamp()) // window_s + 1) * window_s
