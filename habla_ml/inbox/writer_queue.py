"""A queue for the writers of an SQLite database, in all threads and processes of a machine."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path

from habla_ml.errors import LakeError


class WriterQueue:
    """Lets writers wait for each other in a file's lock, which wakes the next one at once; used as a context.

    SQLite lets them sleep and try again, for up to 0.1 s. It still keeps them apart, also those that are not in the queue.
    Raises `LakeError` if the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LakeError(f"service folder {path.parent} cannot be written: {error}; set service.folder") from error
        weakref.finalize(self, os.close, self._descriptor)
        self._of_process = threading.RLock()

    def __enter__(self) -> None:
        """Wait until it is this thread's turn."""
        with ExitStack() as on_failure:
            on_failure.enter_context(self._of_process)
            # A forked process does not inherit this kind of lock, and the end of a process frees it.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            on_failure.pop_all()

    def __exit__(self, *_: object) -> None:
        """Let the next one write."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._of_process.release()
