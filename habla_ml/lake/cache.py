"""The local copies of a lake's objects, and files derived from parts of them, up to a size.

The least recently used ones are removed first. A copy that was used in the last minutes always stays, because its
path was given to a caller that opens it. So the folder can be larger than its limit by what is fetched in that time. A
derived file can leave at any moment: its readers keep it open or make it again.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from habla_ml.errors import LakeError

_IN_USE_S: Final = 600.0
_RECOUNT_SHARE: Final = 1 / 64
"""A process counts the folder again after it has added this share of the limit, since others add too."""
_LOCK_NAME_CHARS: Final = 2


@dataclass
class ObjectCache:
    """Verified copies of objects and derived files below `folder`, which several processes can share."""

    folder: Path
    limit_bytes: int
    _size_bytes: int | None = field(default=None, init=False)
    """Size of all files at the last count, and of those added since; None before the first."""
    _added_bytes: int = field(default=0, init=False)
    """Size of the files added since the last count."""

    def find(self, key: str) -> Path | None:
        """Return the file under `key` and mark it as used, or None."""
        path = self.folder / key
        try:
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:  # another user fetched it
            return path
        return path

    def add(self, key: str, fetch: Callable[[Path], None]) -> Path:
        """Store the file that `fetch` writes, and remove other copies if the limit is exceeded.

        Raises `LakeError` if the folder cannot be written, and the errors of `fetch`.
        """
        try:
            return self._add(key, fetch)
        except OSError as error:
            raise LakeError(f"cannot write the cache {self.folder}: {error.strerror}; free some space") from error

    def make_part(self, object_id: str, part: str, make: Callable[[Path], None]) -> Path:
        """Return the file derived from a part of an object; `make` writes it unless it exists.

        Other processes that want it wait. Raises `OSError` if the folder cannot be written, and the errors of `make`.
        """
        key = make_part_key(object_id, part)
        found = self.find(key)
        if found is None:
            with self._hold_lock(key):
                found = self.find(key) or self._add(key, make)
        return found

    def _add(self, key: str, fetch: Callable[[Path], None]) -> Path:
        path = self.folder / key
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(temporary)
            size_bytes = temporary.stat().st_size
            if self._size_bytes is None or self._added_bytes > _RECOUNT_SHARE * self.limit_bytes:
                self._size_bytes = sum(each for _, each, _ in self._list_files()) - size_bytes
                self._added_bytes = 0
            self._size_bytes += size_bytes
            self._added_bytes += size_bytes
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if self._size_bytes > self.limit_bytes:
            self.evict()
        return path

    def evict(self) -> int:
        """Remove the least recently used files until the limit is met, and what killed processes left.

        Returns the number of removed bytes.
        """
        files = sorted(self._list_files(), key=lambda file: file[2])
        before = left = sum(size_bytes for _, size_bytes, _ in files)
        oldest_in_use = time.time() - _IN_USE_S
        for path, size_bytes, used_at in files:
            is_unfinished, is_part = path.name.startswith("."), path.parts[-3] == "parts"
            if used_at >= oldest_in_use and (is_unfinished or not is_part):
                continue
            if left <= self.limit_bytes and not is_unfinished:
                continue
            path.unlink(missing_ok=True)
            left -= size_bytes
        self._size_bytes, self._added_bytes = left, 0
        return before - left

    def drop(self, key: str) -> None:
        """Remove the file under `key`; raise `LakeError` if that is not permitted."""
        try:
            (self.folder / key).unlink(missing_ok=True)
        except OSError as error:
            raise LakeError(
                f"cannot remove {key} from the cache {self.folder}: {error.strerror}; fix its permissions"
            ) from error

    def drop_parts(self, object_id: str) -> None:
        """Remove what is derived from an object; raise `LakeError` if that is not permitted."""
        for path in self.folder.glob(make_part_key(object_id, "*")):
            self.drop(path.relative_to(self.folder).as_posix())

    def list_ids(self) -> Iterator[str]:
        """Yield the ids of the objects that have a copy or a derived file, sorted."""
        names = (path.name for path, _, _ in self._list_files())
        yield from sorted({name.partition(".")[0] for name in names if not name.startswith(".")})

    @contextmanager
    def _hold_lock(self, key: str) -> Iterator[None]:
        # Files share locks; otherwise the folder of locks would grow with the lake.
        path = self.folder / "parts" / ".locks" / key.rpartition("/")[2][-_LOCK_NAME_CHARS:]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _list_files(self) -> Iterator[tuple[Path, int, float]]:
        """Yield path, size in bytes and time of the last use of each file, unfinished ones included."""
        for kind in ("objects", "parts"):
            for path in (self.folder / kind).glob("??/*"):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield path, found.st_size, found.st_mtime


def make_part_key(object_id: str, part: str) -> str:
    """Return the key of a file derived from a part of an object."""
    return f"parts/{object_id[:2]}/{object_id}.{part}"
