"""The local copies of a remote lake's objects, up to a size.

The least recently used copies are removed first. A copy that was used in the last minutes always stays, because its
path was given to a caller that opens it. So the folder can be larger than its limit by what is fetched in that time.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from habla_ml.errors import LakeError

_IN_USE_S: Final = 600.0


@dataclass
class ObjectCache:
    """Verified copies of objects below `folder`, which several processes can share."""

    folder: Path
    limit_bytes: int
    _size_bytes: int | None = field(default=None, init=False)
    """Size of all copies at the last count, and of those fetched since; None before the first fetch."""

    def find(self, key: str) -> Path | None:
        """Return the copy under `key` and mark it as used, or None."""
        path = self.folder / key
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except PermissionError:  # another user fetched it
            return path
        return path

    def add(self, key: str, fetch: Callable[[Path], None]) -> Path:
        """Store the file that `fetch` writes, and remove other copies if the limit is exceeded.

        Raises `LakeError` if the folder cannot be written, and the errors of `fetch`.
        """
        path = self.folder / key
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(temporary)
            if self._size_bytes is None:
                self._size_bytes = sum(size_bytes for _, size_bytes, _ in self._list_copies())
            self._size_bytes += temporary.stat().st_size
            temporary.replace(path)
        except OSError as error:
            raise LakeError(f"cannot write the cache {self.folder}: {error.strerror}; free some space") from error
        finally:
            temporary.unlink(missing_ok=True)
        if self._size_bytes > self.limit_bytes:
            self.evict()
        return path

    def evict(self) -> int:
        """Remove the least recently used copies until the limit is met, and what killed processes left.

        Returns the number of removed bytes.
        """
        copies = sorted(self._list_copies(), key=lambda copy: copy[2])
        before = left = sum(size_bytes for _, size_bytes, _ in copies)
        oldest_in_use = time.time() - _IN_USE_S
        for path, size_bytes, used_at in copies:
            if used_at >= oldest_in_use or (left <= self.limit_bytes and not path.name.startswith(".")):
                continue
            path.unlink(missing_ok=True)
            left -= size_bytes
        self._size_bytes = left
        return before - left

    def drop(self, key: str) -> None:
        """Remove the copy under `key`; raise `LakeError` if that is not permitted."""
        try:
            (self.folder / key).unlink(missing_ok=True)
        except OSError as error:
            raise LakeError(
                f"cannot remove {key} from the cache {self.folder}: {error.strerror}; fix its permissions"
            ) from error

    def list_ids(self) -> Iterator[str]:
        """Yield the ids of the objects that have a copy, sorted."""
        yield from sorted(path.name for path, _, _ in self._list_copies() if not path.name.startswith("."))

    def _list_copies(self) -> Iterator[tuple[Path, int, float]]:
        """Yield path, size in bytes and time of the last use of each copy, unfinished ones included."""
        for path in (self.folder / "objects").glob("??/*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            yield path, found.st_size, found.st_mtime
