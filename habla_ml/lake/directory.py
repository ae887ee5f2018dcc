"""A store in a local directory: temporary file, fsync, hard link, fsync of the folder.

`os.link` fails where the name exists, so of any number of writers exactly one wins, and a name never
appears before its bytes are on the disk. Pointers are replaced under an advisory lock on one lock file a
pointer, which serialises compare-and-set between processes on one host.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from habla_ml.errors import LakeError, ObjectMissingError, PointerMovedError
from habla_ml.lake.store import Entry, Versioned, checked_key

_UNFINISHED = ".unfinished"
_LOCKS = ".locks"


class DirectoryStore:
    """Values as plain files below `root`; made on first use."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().resolve()
        try:
            (self._root / _UNFINISHED).mkdir(parents=True, exist_ok=True)
            (self._root / _LOCKS).mkdir(exist_ok=True)
        except OSError as error:
            raise LakeError(
                f"store folder {self._root} cannot be written ({error.strerror}); "
                "choose another folder in the settings or mend its permissions"
            ) from error

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return str(self._root)

    def put_if_absent(self, key: str, source: bytes | Path) -> bool:
        """See `Store.put_if_absent`."""
        target = self._path(key)
        if target.exists():
            return False
        with self._unfinished(key, source) as temporary:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            _fsync_folders(target.parent, self._root)
        return True

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise self._missing(key) from None

    def read_versioned(self, key: str) -> Versioned | None:
        """See `Store.read_versioned`; the tag is the sha256 of the value."""
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        return Versioned(data, hashlib.sha256(data).hexdigest())

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """See `Store.compare_and_set`."""
        target = self._path(key)
        with self._locked(key), self._unfinished(key, data) as temporary:
            present = self.read_versioned(key)
            if (present.tag if present else None) != expected:
                raise PointerMovedError(
                    f"{key} in {self.url} was moved by somebody else since it was read; read it again and retry"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
            _fsync_folders(target.parent, self._root)
        return hashlib.sha256(data).hexdigest()

    def list(self, prefix: str) -> Iterator[Entry]:
        """See `Store.list`."""
        folder = self._root / prefix.rpartition("/")[0]
        keys = (path for path in folder.rglob("*") if path.is_file())
        entries = ((path.relative_to(self._root).as_posix(), path) for path in keys)
        for key, path in sorted(entries):
            if key.startswith(prefix) and not key.startswith((_UNFINISHED, _LOCKS)):
                yield Entry(key, path.stat().st_size)

    def fetch(self, key: str, destination: Path) -> None:
        """See `Store.fetch`."""
        try:
            shutil.copyfile(self._path(key), destination)
        except FileNotFoundError as error:
            if self._path(key).exists():
                raise LakeError(f"cannot write {destination}: {error.strerror}") from error
            raise self._missing(key) from None

    def local_path(self, key: str) -> Path | None:
        """See `Store.local_path`."""
        path = self._path(key)
        if not path.exists():
            raise self._missing(key)
        return path

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _missing(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(f"{key} is not in the store {self.url}; has the stage that makes it run?")

    @contextmanager
    def _unfinished(self, key: str, source: bytes | Path) -> Iterator[Path]:
        """A temporary file in the store that holds `source` durably; removed at the end."""
        temporary = self._root / _UNFINISHED / uuid.uuid4().hex
        try:
            with temporary.open("wb") as out:
                if isinstance(source, bytes):
                    out.write(source)
                else:
                    with source.open("rb") as handle:
                        shutil.copyfileobj(handle, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            yield temporary
        except OSError as error:
            raise LakeError(
                f"cannot write {key} to {self.url}: {error.strerror}; nothing was published. "
                "Free some space or mend the folder, then run the stage again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with (self._root / _LOCKS / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _fsync_folders(folder: Path, root: Path) -> None:
    """Make names durable: fsync `folder` and its parents up to `root`."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == root:
            return
