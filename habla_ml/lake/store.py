"""The interface of a store: bytes under keys, in a directory or on S3.

Keys are relative POSIX paths (`objects/ab/abcd…`, `pointers/models/v1/checkpoint.json`). Every store guarantees two
things. `put_if_absent` has exactly one winner and never shows a half-written value. `compare_and_set` replaces a small
value only if it is still in the state that the caller has read.
"""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, ClassVar, Final, NamedTuple

from habla_ml.errors import LakeError, ObjectMissingError, PointerMovedError

_PART = r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}"
_KEY = re.compile(rf"{_PART}(/{_PART})*")
_PREFIX = re.compile(rf"({_PART}/)*({_PART})?")
RENEWED_AFTER: Final = timedelta(hours=12)
"""A value that is put again is marked as modified now if its last modification is older than this."""
_MAX_KEY_CHARS = 900  # S3 allows 1024 bytes including the bucket's prefix


class StoreEntry(NamedTuple):  # a listing makes thousands, and a tuple takes a third of the time of a dataclass
    """One stored value in a listing."""

    key: str
    size_bytes: int
    modified_at: datetime
    """UTC; a repeated `put_if_absent` renews it, see `RENEWED_AFTER`."""
    version: str
    """Differs for every state of the value, but can also change without it. Empty if a later state could have the same."""


@dataclass(frozen=True)
class VersionedValue:
    """A value with the tag of its present state, for `compare_and_set`, and the version that listings show for it."""

    data: bytes
    tag: str
    version: str


class Store(ABC):
    """Bytes under keys, with conditional writes."""

    parallel_reads: ClassVar[int] = 1
    """How many reads at a time are fastest."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The store's location: a path or `s3://bucket/prefix`."""

    @property
    def location(self) -> str:
        """The url, and the address of the endpoint where the url does not have it."""
        return self.url

    @abstractmethod
    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """Store `source` under `key` unless the key exists; return True if this call stored it.

        The value under `key` is durable on return. A crash leaves either nothing or the whole value. An existing value
        becomes younger than `RENEWED_AFTER`, so that a deletion of unused values keeps it. Raises `LakeError`
        if the bytes do not have the expected `sha256` (hex), because the file changed or the transfer broke, or the
        store cannot be written. Nothing is stored.
        """

    def adopt_if_absent(self, key: str, source: Path, sha256: str) -> bool:
        """Store a file that nobody writes again, as `put_if_absent` does; the caller has just computed its `sha256`.

        A store on the same file system keeps the file itself instead of a copy. The caller may remove its own name.
        """
        return self.put_if_absent(key, source, sha256)

    def put_new(self, key: str, data: bytes, sha256: str) -> None:
        """Store a value of which the caller has just computed the `sha256`, under a key that nobody else knows yet.

        It is durable on return, and then the caller may pass the key on. A crash before that can leave a part of the
        value. Raises `LakeError` if the store cannot be written.
        """
        self.put_if_absent(key, data, sha256)

    def read(self, key: str) -> bytes:
        """Return the value under `key`; raises `ObjectMissingError` if the key does not exist."""
        found = self.read_versioned(key)
        if found is None:
            raise self._make_missing_error(key)
        return found.data

    @abstractmethod
    def read_versioned(self, key: str) -> VersionedValue | None:
        """Return the value and its tag, or None if the key does not exist."""

    @abstractmethod
    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace the value with the tag `expected` (None: no value); return the new tag, or raise `PointerMovedError`."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoreEntry]:
        """Yield the values whose key starts with `prefix`, sorted by key, without unfinished writes."""

    @abstractmethod
    def fetch(self, key: str, destination: Path) -> None:
        """Write the value under `key` to the file `destination`, in bounded memory."""

    @abstractmethod
    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a value from `start` on, fewer at its end; raises `ObjectMissingError` without the key."""

    @abstractmethod
    def read_size_bytes(self, key: str) -> int:
        """Return the size of a value; raises `ObjectMissingError` if the key does not exist."""

    @abstractmethod
    def delete(self, key: str, unmodified_since: datetime | None = None) -> bool:
        """Remove the value under `key`, needed or not, durably; return True if this call removed it.

        A value that was modified at or after `unmodified_since` stays.
        """

    @abstractmethod
    def delete_unfinished(self, before: datetime) -> int:
        """Remove what killed writers left before this time and listings do not show; return the number."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Return the read-only file with the value if the store is a local directory, otherwise None."""

    def _make_missing_error(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(f"{key} is not in the store {self.url}; run the stage that publishes it")

    def _make_moved_error(self, key: str) -> PointerMovedError:
        fault = f"{key} in {self.url} was moved by another process since it was read"
        return PointerMovedError(f"{fault}; read it again and retry")


def check_key(key: str) -> str:
    """Return `key`; raise `LakeError` if it could leave the store or is ambiguous."""
    if not _KEY.fullmatch(key) or len(key) > _MAX_KEY_CHARS:
        raise LakeError(
            f"store key {key!r} is not a relative path of letters, digits and ._=+- (200 characters a part, "
            f"{_MAX_KEY_CHARS} in all at most); rename its source"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` (the start of a key, or empty); raise `LakeError` if no key can start with it."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_KEY_CHARS:
        raise LakeError(f"listing prefix {prefix!r} is not the start of a store key; list a part of a key")
    return prefix


@contextmanager
def open_source(source: bytes | Path) -> Iterator[IO[bytes]]:
    """Open a value for reading; raises `LakeError` if its file cannot be opened."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        handle = source.open("rb")
    except OSError as error:
        raise LakeError(f"cannot read {source}: {error.strerror}; nothing was published, check the file") from error
    with handle:
        yield handle


def check_sha256(key: str, found: str, expected: str | None) -> None:
    """Raise `LakeError` if the bytes read for `key` do not have the expected sha256."""
    if expected is not None and found != expected:
        raise LakeError(
            f"the value of {key} has the sha256 {found}, expected {expected}: it changed while it was read; "
            "nothing was published, run the stage again"
        )
