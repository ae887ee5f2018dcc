"""A store in a local directory: temporary file, fsync, hard link, fsync of the folder.

`os.link` fails if the name exists, so exactly one of several writers wins, and a name never appears before its bytes
are on the disk. Each pointer has a lock file whose advisory lock serialises compare-and-set between processes on one
host.

A writer locks its temporary file. The lock of a killed writer is free, so the next process that opens the store
removes the file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from habla_ml.errors import LakeError
from habla_ml.lake.store import (
    RENEWED_AFTER,
    Store,
    StoreEntry,
    VersionedValue,
    check_key,
    check_prefix,
    check_sha256,
    open_source,
)

_TEMPORARY_FOLDER = ".unfinished"
_LOCK_FOLDER = ".locks"
_LOCK_NAME_CHARS = 3
_CHUNK_BYTES = 1 << 20
_SETTLED_AFTER_S = 1.0
_NOT_FOUND_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DirectoryStore(Store):
    """Values as plain files below `root`; creates the folder if it is missing."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().resolve()
        self._durable_folders: set[Path] = set()
        try:
            is_new = not self._root.exists()
            (self._root / _TEMPORARY_FOLDER).mkdir(parents=True, exist_ok=True)
            (self._root / _LOCK_FOLDER).mkdir(exist_ok=True)
            if is_new:
                _fsync_folders(self._root.parent, self._root.parent)
            self._remove_leftovers()
        except OSError as error:
            raise LakeError(
                f"store folder {self._root} cannot be written ({error.strerror}); "
                "choose another folder in the settings or fix its permissions"
            ) from error

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return str(self._root)

    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """See `Store.put_if_absent`."""
        with self._translate_write_errors(key):
            stored = False
            if not self._renew(key):
                with self._write_temporary(key, source, sha256) as temporary:
                    stored = _link_if_absent(temporary, self._path(key))
            self._make_name_durable(key)
        return stored

    def adopt_if_absent(self, key: str, source: Path, sha256: str) -> bool:
        """See `Store.adopt_if_absent`."""
        with self._translate_write_errors(key):
            if source.stat().st_dev != self._root.stat().st_dev:
                return self.put_if_absent(key, source, sha256)
            stored = False
            if not self._renew(key):
                with source.open("rb") as handle:
                    _make_durable(handle)
                stored = _link_if_absent(source, self._path(key))
            self._make_name_durable(key)
        return stored

    def put_new(self, key: str, data: bytes, sha256: str) -> None:  # noqa: ARG002 (nothing else reads the bytes again)
        """See `Store.put_new`; the file is made under its name, which saves a link and a flush."""
        target = self._path(key)
        with self._translate_write_errors(key):
            if target.parent not in self._durable_folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                _fsync_folders(target.parent.parent, self._root)
                self._durable_folders.add(target.parent)
            file = open(target, "xb", opener=_create_value)  # noqa: SIM115 (a value that is there already stays)
            try:
                with file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            _fsync_folder(target.parent)

    def read_versioned(self, key: str) -> VersionedValue | None:
        """See `Store.read_versioned`; the tag is the sha256 of the value."""
        try:
            with self._path(key).open("rb") as handle:
                version = _describe_version(os.fstat(handle.fileno()))
                data = handle.read()
        except _NOT_FOUND_ERRORS:
            return None
        except OSError as error:
            raise LakeError(f"cannot read {key} in {self.url}: {error.strerror}; check the disk") from error
        return VersionedValue(data, hashlib.sha256(data).hexdigest(), version)

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """See `Store.compare_and_set`."""
        target = self._path(key)
        with self._translate_write_errors(key), self._write_temporary(key, data) as temporary, self._hold_lock(key):
            present = self.read_versioned(key)
            if (present.tag if present else None) != expected:
                raise self._make_moved_error(key)
            if expected is not None:
                temporary.replace(target)
            elif not _link_if_absent(temporary, target):
                raise self._make_moved_error(key)
            _fsync_folders(target.parent, self._root)
        return hashlib.sha256(data).hexdigest()

    def list(self, prefix: str) -> Iterator[StoreEntry]:
        """See `Store.list`; reads the folders below `prefix` only, one at a time."""
        above, _, start = check_prefix(prefix).rpartition("/")
        return self._walk_folder(above, start)

    def fetch(self, key: str, destination: Path) -> None:
        """See `Store.fetch`."""
        source = self.local_path(key)
        try:
            shutil.copyfile(source, destination)
        except OSError as error:
            raise LakeError(f"cannot copy {key} to {destination}: {error.strerror}; free some space there") from error

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        try:
            with self.local_path(key).open("rb") as handle:
                handle.seek(start)
                return handle.read(length)
        except OSError as error:
            raise LakeError(f"cannot read {key} in {self.url}: {error.strerror}; check the disk") from error

    def read_size_bytes(self, key: str) -> int:
        """See `Store.read_size_bytes`."""
        return self.local_path(key).stat().st_size

    def delete(self, key: str, unmodified_since: datetime | None = None) -> bool:
        """See `Store.delete`."""
        target = self._path(key)
        try:
            with self._hold_lock(key):
                try:
                    if unmodified_since is not None and _read_modified_at(target.stat()) >= unmodified_since:
                        return False
                    target.unlink()
                except _NOT_FOUND_ERRORS:
                    return False
                _fsync_folders(target.parent, target.parent)
        except OSError as error:
            remedy = "fix the folder's permissions, then run again"
            raise LakeError(f"cannot delete {key} in {self.url}: {error.strerror}; {remedy}") from error
        return True

    def delete_unfinished(self, before: datetime) -> int:  # noqa: ARG002 (a lock tells dead writers, not an age)
        """See `Store.delete_unfinished`; opening the store has removed them, whatever their age."""
        return 0

    def local_path(self, key: str) -> Path:
        """See `Store.local_path`."""
        path = self._path(key)
        if not path.is_file():
            raise self._make_missing_error(key)
        return path

    def _make_name_durable(self, key: str) -> None:
        """Fsync the folders of a stored value, since the process that stored it first may have died before it did so."""
        target = self._path(key)
        if not target.is_file():
            raise LakeError(f"{target} is a folder, so {key} cannot be stored; move that folder away")
        _fsync_folders(target.parent, self._root)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _walk_folder(self, folder: str, start: str) -> Iterator[StoreEntry]:
        """Yield entries below `folder` (a key, or empty) whose next part begins with `start`, sorted by key."""
        try:
            with os.scandir(self._root / folder) as found:
                children = [each for each in found if each.name.startswith(start) and not each.name.startswith(".")]
        except _NOT_FOUND_ERRORS:
            return
        # The keys in a folder continue with "/", which sorts after "." and "-", as in listings of S3.
        for child in sorted(children, key=lambda each: each.name + "/" * each.is_dir()):
            key = f"{folder}/{child.name}" if folder else child.name
            if child.is_dir():
                yield from self._walk_folder(key, "")
            elif child.is_file():
                found_file = child.stat()
                yield StoreEntry(key, found_file.st_size, _read_modified_at(found_file), _describe_version(found_file))

    @contextmanager
    def _translate_write_errors(self, key: str) -> Iterator[None]:
        """Turn an `OSError` of a write of `key` into a `LakeError`."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                remedy = "if the file system has no hard links or locks, choose a folder on a local disk, or S3"
            elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = "free some space, then run the stage again"
            else:
                remedy = "fix the folder, then run the stage again"
            raise LakeError(
                f"cannot write {key} to {self.url}: {error.strerror}; nothing was published; {remedy}"
            ) from error

    @contextmanager
    def _write_temporary(self, key: str, source: bytes | Path, sha256: str | None = None) -> Iterator[Path]:
        """Copy `source` durably to a temporary file, lock it, and remove it at the end."""
        with self._create_temporary() as out:
            temporary = Path(out.name)
            try:
                check_sha256(key, _copy_source(source, out), sha256)
                out.flush()
                _make_durable(out)
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def _create_temporary(self) -> IO[bytes]:
        """Create an empty file below `.unfinished` and lock it."""
        while True:
            out = (self._root / _TEMPORARY_FOLDER / uuid.uuid4().hex).open("xb")
            fcntl.flock(out, fcntl.LOCK_EX)
            if os.fstat(out.fileno()).st_nlink:
                return out
            out.close()  # another process removed it as a leftover before it was locked

    def _remove_leftovers(self) -> None:
        """Remove temporary files that no process has locked: their writer is dead."""
        for path in (self._root / _TEMPORARY_FOLDER).iterdir():
            try:
                with path.open("rb") as handle:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # its writer is alive, another process removed it, or it belongs to another user

    def _renew(self, key: str) -> bool:
        """Return whether the key exists; a value that has not been modified for `RENEWED_AFTER` is renewed."""
        target = self._path(key)
        try:
            if datetime.now(UTC) - _read_modified_at(target.stat()) > RENEWED_AFTER:
                # The lock is against a deletion that has already read the old time. Only the owner can renew a file.
                with self._hold_lock(key), suppress(PermissionError):
                    os.utime(target)
        except _NOT_FOUND_ERRORS:
            return False
        return True

    @contextmanager
    def _hold_lock(self, key: str) -> Iterator[None]:
        # Keys share lock files; otherwise the folder of locks would grow with the lake.
        name = hashlib.sha256(key.encode()).hexdigest()[:_LOCK_NAME_CHARS]
        with (self._root / _LOCK_FOLDER / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)  # a process forked meanwhile would keep the lock


def _read_modified_at(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _describe_version(found: os.stat_result) -> str:
    """Return a version for `StoreEntry`; empty for a file that has just changed.

    Each change of a file changes its `st_ctime`. But the clock of a file system is coarse and the number of a removed
    file is used again, so another file can have both within a moment.
    """
    if time.time() - found.st_ctime < _SETTLED_AFTER_S:
        return ""
    return f"{found.st_ino:x}-{found.st_ctime_ns:x}"


def _make_durable(handle: IO[bytes]) -> None:
    """Fsync a finished value and make it read-only; the umask still decides who may read it."""
    os.fchmod(handle.fileno(), stat.S_IMODE(os.fstat(handle.fileno()).st_mode) & 0o444)
    os.fsync(handle.fileno())


def _link_if_absent(temporary: Path, target: Path) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    return True


def _copy_source(source: bytes | Path, out: IO[bytes]) -> str:
    """Write `source` to `out` in bounded memory; return the sha256 of the written bytes."""
    written = hashlib.sha256()
    with open_source(source) as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            written.update(chunk)
            out.write(chunk)
    return written.hexdigest()


def _create_value(path: str, flags: int) -> int:
    """Open a new value; the umask still decides who may read it, and nobody may write it again."""
    return os.open(path, flags, 0o444)


def _fsync_folders(folder: Path, root: Path) -> None:
    """Make names durable: fsync `folder` and its parents up to `root`."""
    for each in (folder, *folder.parents):
        _fsync_folder(each)
        if each == root:
            return


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
