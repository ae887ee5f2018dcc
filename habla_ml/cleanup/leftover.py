"""What a cleanup can remove, by kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import LakeError


@dataclass(frozen=True)
class Leftover:
    """One thing that can be removed now."""

    name: str
    """A path, a key of a store or an object id."""
    size_bytes: int
    remove: Callable[[], bool]
    """Remove it, and return False if it came into use in the meantime."""


@dataclass(frozen=True)
class LeftoverGroup:
    """The leftovers of one kind."""

    kind: str
    """In the plural: `abandoned temporary folders`."""
    due: tuple[Leftover, ...] = ()
    """Removed by the cleanup."""
    waiting: int = 0
    """Number of others that a later cleanup removes, because the grace period has not passed."""
    waiting_bytes: int = 0
    problem: str = ""
    """Why this kind could not be examined; empty where it could."""

    @property
    def due_bytes(self) -> int:
        """Size of what the cleanup removes."""
        return sum(each.size_bytes for each in self.due)


def make_folder_leftover(path: Path, root: Path) -> Leftover:
    """Return a folder as a leftover, named by its path below `root`."""
    return Leftover(path.relative_to(root).as_posix(), measure_folder(path), lambda: remove_folder(path))


def remove_folder(path: Path) -> bool:
    """Remove a folder, its read-only files included; raise `LakeError` if that is not permitted."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LakeError(f"cannot remove {path}: {error.strerror}; fix its permissions, then run again") from error
    return True


def measure_folder(path: Path) -> int:
    """Return the bytes of all files below a folder; a file that vanishes meanwhile counts nothing."""
    total = 0
    for each in path.rglob("*"):
        try:
            total += each.lstat().st_size if not each.is_dir() else 0
        except FileNotFoundError:
            continue
    return total
