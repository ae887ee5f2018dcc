"""Temporary folders for unfinished work, which can be recognised when their process was killed.

Every one lies in `scratch/` of the work folder, and its process holds an advisory lock on it. The system releases the
lock when the process ends for any reason, so a folder without a lock is abandoned.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRATCH_FOLDER: Final = "scratch"
_UNLOCKED_AT_FIRST_S: Final = 60.0
"""A folder exists for a moment before it is locked."""


@contextmanager
def make_scratch_folder(work_folder: Path, purpose: str) -> Iterator[Path]:
    """Yield a new folder `scratch/<purpose>-…` below `work_folder`, and remove it at the end.

    Raises `OSError` if it cannot be created.
    """
    parent = work_folder / SCRATCH_FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{purpose}-"))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def find_abandoned_folders(work_folder: Path) -> list[Path]:
    """Return the scratch folders whose process has ended, sorted; a folder in use is not among them."""
    parent = work_folder / SCRATCH_FOLDER
    return sorted(path for path in parent.glob("*") if path.is_dir() and _is_abandoned(path))


def _is_abandoned(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False  # its process removed it, or it belongs to another user
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return time.time() - os.fstat(handle).st_mtime > _UNLOCKED_AT_FIRST_S
    except OSError:
        return False  # its process holds the lock
    finally:
        os.close(handle)
