"""A store in a local directory: temporary file, fsync, hard link, fsync of the folder.

`os.link` fails where the name exists, so of any number of writers exactly one wins, and a name never
appears before its bytes are on the disk. Pointers are replaced under an advisory lock on one lock file a
pointer, which serialises compare-and-set between processes on one host.

A writer holds a lock on its temporary file. What a killed writer left is therefore free to be locked by
anybody, and the next opening of the store removes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from habla_ml.errors import LakeError, ObjectMissingError, PointerMovedError
from habla_ml.lake.store import StoreEntry, VersionedValue, check_key, check_prefix

_TEMPORARY_FOLDER = ".unfinished"
_LOCK_FOLDER = ".locks"
_CHUNK_BYTES = 1 << 20
_NOT_FOUND_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DirectoryStore:
    """Values as plain files below `root`; made on first use."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().resolve()
        try:
            made = not self._root.exists()
            (self._root / _TEMPORARY_FOLDER).mkdir(parents=True, exist_ok=True)
            (self._root / _LOCK_FOLDER).mkdir(exist_ok=True)
            if made:
                _fsync_folders(self._root.parent, self._root.parent)
            self._remove_leftovers()
        except OSError as error:
            raise LakeError(
                f"store folder {self._root} cannot be written ({error.strerror}); "
                "choose another folder in the settings or mend its permissions"
            ) from error

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return str(self._root)

    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """See `Store.put_if_absent`."""
        target = self._path(key)
        with self._translate_write_errors(key):
            stored = not target.exists() and self._link_if_absent(key, source, sha256)
            if not target.is_file():
                raise LakeError(f"{target} is a folder, so {key} cannot be stored; move that folder away")
            # The one who stored it first may have been killed before its name was durable.
            _fsync_folders(target.parent, self._root)
        return stored

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        found = self.read_versioned(key)
        if found is None:
            raise self._missing_error(key)
        return found.data

    def read_versioned(self, key: str) -> VersionedValue | None:
        """See `Store.read_versioned`; the tag is the sha256 of the value."""
        try:
            data = self._path(key).read_bytes()
        except _NOT_FOUND_ERRORS:
            return None
        except OSError as error:
            raise LakeError(f"cannot read {key} in {self.url}: {error.strerror}; check the disk") from error
        return VersionedValue(data, hashlib.sha256(data).hexdigest())

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """See `Store.compare_and_set`."""
        target = self._path(key)
        with (
            self._translate_write_errors(key),
            self._write_temporary(data, None) as temporary,
            self._hold_lock(key),
        ):
            present = self.read_versioned(key)
            if (present.tag if present else None) != expected:
                raise self._moved_error(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            if expected is None:
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    raise self._moved_error(key) from None
            else:
                temporary.replace(target)
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
            raise LakeError(
                f"cannot copy {key} to {destination}: {error.strerror}; free some space there"
            ) from error

    def read_start(self, key: str, length: int) -> bytes:
        """See `Store.read_start`."""
        try:
            with self.local_path(key).open("rb") as handle:
                return handle.read(length)
        except OSError as error:
            raise LakeError(f"cannot read {key} in {self.url}: {error.strerror}; check the disk") from error

    def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        target = self._path(key)
        with self._translate_delete_errors(key), self._hold_lock(key):
            try:
                target.unlink()
            except _NOT_FOUND_ERRORS:
                return False
            _fsync_folders(target.parent, target.parent)
        return True

    def local_path(self, key: str) -> Path:
        """See `Store.local_path`."""
        path = self._path(key)
        if not path.is_file():
            raise self._missing_error(key)
        return path

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _missing_error(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(f"{key} is not in the store {self.url}; has the stage that makes it run?")

    def _moved_error(self, key: str) -> PointerMovedError:
        return PointerMovedError(
            f"{key} in {self.url} was moved by somebody else since it was read; read it again and retry"
        )

    def _link_if_absent(self, key: str, source: bytes | Path, sha256: str | None) -> bool:
        target = self._path(key)
        with self._write_temporary(source, sha256) as temporary:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        return True

    def _walk_folder(self, folder: str, start: str) -> Iterator[StoreEntry]:
        """Entries below `folder` (a key, or empty) whose next part begins with `start`, in the order of keys."""
        try:
            with os.scandir(self._root / folder) as found:
                children = [
                    each for each in found if each.name.startswith(start) and not each.name.startswith(".")
                ]
        except _NOT_FOUND_ERRORS:
            return
        # A folder's keys go on with "/", which sorts after "." and "-": S3 lists in that order too.
        for child in sorted(children, key=lambda each: each.name + "/" * each.is_dir()):
            key = f"{folder}/{child.name}" if folder else child.name
            if child.is_dir():
                yield from self._walk_folder(key, "")
            elif child.is_file():
                yield StoreEntry(key, child.stat().st_size)

    @contextmanager
    def _translate_write_errors(self, key: str) -> Iterator[None]:
        """Turn what the operating system refuses while `key` is written into a `LakeError`."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                remedy = "the file system may lack hard links or locks: choose a folder on a local disk, or S3"
            elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = "free some space, then run the stage again"
            else:
                remedy = "mend the folder, then run the stage again"
            raise LakeError(
                f"cannot write {key} to {self.url}: {error.strerror}; nothing was published; {remedy}"
            ) from error

    @contextmanager
    def _translate_delete_errors(self, key: str) -> Iterator[None]:
        """Turn what the operating system refuses while `key` is deleted into a `LakeError`."""
        try:
            yield
        except OSError as error:
            raise LakeError(
                f"cannot delete {key} in {self.url}: {error.strerror}; mend the folder's permissions, then run again"
            ) from error

    @contextmanager
    def _write_temporary(self, source: bytes | Path, sha256: str | None) -> Iterator[Path]:
        """A temporary file in the store that holds `source` durably; locked meanwhile, removed at the end."""
        with self._create_temporary() as out:
            temporary = Path(out.name)
            try:
                found = _copy_source(source, out)
                if sha256 is not None and found != sha256:
                    raise LakeError(
                        f"{source if isinstance(source, Path) else 'the value'} has the sha256 {found}, expected "
                        f"{sha256}: it changed while it was read; nothing was published, run the stage again"
                    )
                out.flush()
                # Nobody may write to a published value; what the process's umask hides stays hidden.
                os.fchmod(out.fileno(), stat.S_IMODE(os.fstat(out.fileno()).st_mode) & 0o444)
                os.fsync(out.fileno())
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def _create_temporary(self) -> IO[bytes]:
        """An empty file below `.unfinished` whose lock this process holds."""
        while True:
            out = (self._root / _TEMPORARY_FOLDER / uuid.uuid4().hex).open("xb")
            fcntl.flock(out, fcntl.LOCK_EX)
            if os.fstat(out.fileno()).st_nlink:
                return out
            out.close()  # taken for a leftover between its making and its locking

    def _remove_leftovers(self) -> None:
        """Remove temporary files whose writer is dead: nobody holds their lock."""
        for path in (self._root / _TEMPORARY_FOLDER).iterdir():
            try:
                with path.open("rb") as handle:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # its writer lives, another opening was quicker, or it is another user's to remove

    @contextmanager
    def _hold_lock(self, key: str) -> Iterator[None]:
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with (self._root / _LOCK_FOLDER / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough where a process was forked meanwhile


def _copy_source(source: bytes | Path, out: IO[bytes]) -> str:
    """Write `source` to `out` in bounded memory; returns the sha256 of what was written."""
    if isinstance(source, bytes):
        out.write(source)
        return hashlib.sha256(source).hexdigest()
    try:
        handle = source.open("rb")
    except OSError as error:
        raise LakeError(
            f"cannot read {source}: {error.strerror}; nothing was published, check the file"
        ) from error
    found = hashlib.sha256()
    with handle:
        while chunk := handle.read(_CHUNK_BYTES):
            found.update(chunk)
            out.write(chunk)
    return found.hexdigest()


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
