"""Several workers begin with a new SQLite file at the same moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from habla_ml.inbox.engines import create_sqlite_engine
from habla_ml.inbox.request_counters import RequestCounters
from habla_ml.inbox.write_ahead_log import use_write_ahead_log

WORKERS, FILES = 6, 60


def open_database(path: Path) -> str:
    with create_sqlite_engine(path).connect() as connection:
        return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())


def open_counters(path: Path) -> str:
    RequestCounters(path)
    with sqlite3.connect(path) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.parametrize("open_file", [open_database, open_counters])
def test_workers_that_begin_at_once_all_get_the_new_file(open_file: Callable[[Path], str], tmp_path: Path) -> None:
    barrier = Barrier(WORKERS)

    def begin(path: Path) -> str:
        barrier.wait()
        return open_file(path)

    with ThreadPoolExecutor(WORKERS) as pool:
        for number in range(FILES):
            assert set(pool.map(begin, [tmp_path / f"{number}.sqlite"] * WORKERS)) == {"wal"}


def test_a_file_that_stays_locked_is_an_error_after_the_timeout(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("CREATE TABLE t (a)")
        other = sqlite3.connect(tmp_path / "file.sqlite", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            use_write_ahead_log(other, 0.05)
