"""The process of one run, and the lock that shows whether it lives.

A run worker holds a lock on a file of its run for as long as it lives. The kernel releases the lock when the process
ends, also after SIGKILL, a crash or a power loss, so a held lock is proof of life: no reused process id, restarted
machine or changed clock can give a wrong answer. The file holds the worker's process id.

This module starts in about 0.1 s: it imports Dagster only after it holds the lock.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FOLDER = "run_workers"
_STOP_REQUESTS_FOLDER = "run_stop_requests"


def build_lock_path(dagster_home: str | Path, run_id: str) -> Path:
    """Return the path of the run's lock file."""
    return Path(dagster_home) / _FOLDER / run_id


def build_stop_request_path(dagster_home: str | Path, run_id: str) -> Path:
    """Return the path of the file that asks the launcher of a run, in another container, to stop the run's process."""
    return Path(dagster_home) / _STOP_REQUESTS_FOLDER / run_id


@contextmanager
def hold_worker_lock(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, which is created, and write this process id into it.

    The file stays: a free lock is how others see that a run has lost its process. The lock belongs to this process
    alone, not to processes forked from it. Nothing else in this process may open the file, because closing any handle
    of it releases the lock.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def is_worker_alive(path: Path) -> bool:
    """Return whether a process holds the lock on `path`.

    Raises:
        FileNotFoundError: No worker of this run was started from this `DAGSTER_HOME`, or the run ended long ago.
    """
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
    return False


def read_worker_pid(path: Path) -> int | None:
    """Return the process id in the lock file, or None before the worker has written it."""
    text = path.read_text()
    return int(text) if text else None


def main(arguments: Sequence[str]) -> None:
    """Hold the lock on the first argument and run Dagster's command line with the others."""
    lock, *command = arguments
    with hold_worker_lock(Path(lock)):
        sys.argv = ["dagster", *command]
        runpy.run_module("dagster", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
