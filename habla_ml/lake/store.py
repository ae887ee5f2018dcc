"""What a place to keep bytes must be able to do: a directory and S3 both can.

Keys are relative POSIX paths (`objects/ab/abcd…`, `pointers/models/v1/checkpoint.json`). Two promises carry the
whole project: `put_if_absent` has exactly one winner and never shows a half-written value, and
`compare_and_set` moves a small value only from the state the caller has seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from habla_ml.errors import LakeError

_PART = r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}"
_KEY = re.compile(rf"{_PART}(/{_PART})*")
_PREFIX = re.compile(rf"({_PART}/)*({_PART})?")
_MAX_KEY_CHARS = 900  # S3 allows 1024 bytes, of which a bucket's prefix needs some


@dataclass(frozen=True)
class StoreEntry:
    """One stored value as a listing shows it."""

    key: str
    size_bytes: int


@dataclass(frozen=True)
class VersionedValue:
    """A value and the tag that names its present state, for `compare_and_set`."""

    data: bytes
    tag: str


class Store(Protocol):
    """Bytes under keys, with conditional writes."""

    @property
    def url(self) -> str:
        """Where the store is, as a person would write it (a path or `s3://bucket/prefix`)."""
        ...

    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """Store `source` under `key` unless something is there; True when this call stored it.

        Whether it returns True or False, the value that is there is durable. A crash at any point leaves
        either nothing or the whole value. Where `sha256` (hex) is given and the bytes turn out to have another
        one (a file that changed while it was read, a broken transfer), nothing is stored: `LakeError`.
        """
        ...

    def read(self, key: str) -> bytes:
        """The value under `key`; raises `ObjectMissingError` where there is none."""
        ...

    def read_versioned(self, key: str) -> VersionedValue | None:
        """The value and its tag, or None where there is none."""
        ...

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace the value whose tag is `expected` (None: there is none yet) and return the new tag.

        Raises `PointerMovedError` when the present tag is another one.
        """
        ...

    def list(self, prefix: str) -> Iterator[StoreEntry]:
        """Everything whose key starts with `prefix`, sorted by key; unfinished writes never show."""
        ...

    def fetch(self, key: str, destination: Path) -> None:
        """Write the value under `key` to the file `destination`, in bounded memory."""
        ...

    def read_start(self, key: str, length: int) -> bytes:
        """The first `length` bytes of the value under `key`; raises `ObjectMissingError` where there is none."""
        ...

    def delete(self, key: str) -> bool:
        """Remove the value under `key`; True when this call removed it, False where there was none.

        Once it returns, the removal is durable. What must not be lost is the caller's to know: see
        `Lake.delete_objects`.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """The file that holds the value, to be read only, where the store is a local directory."""
        ...


def check_key(key: str) -> str:
    """`key` itself, or a `LakeError` where it could leave the store or be read in two ways."""
    if not _KEY.fullmatch(key) or len(key) > _MAX_KEY_CHARS:
        raise LakeError(
            f"store key {key!r} is not a relative path of letters, digits and ._=+- (200 characters a part, "
            f"{_MAX_KEY_CHARS} in all at most); rename what it was made from"
        )
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` itself (the start of a key, or empty), or a `LakeError` where no key can start with it."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_KEY_CHARS:
        raise LakeError(f"listing prefix {prefix!r} is not the start of a store key; list a part of a key")
    return prefix
