"""A folder in the place of a bucket, of which the requests of readers are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from habla_ml.lake import DirectoryStore, Store
from habla_ml.lake.store import StoreEntry, VersionedValue

_PAGE = 1_000


class CountingStore(Store):
    """A folder that has no local paths, like S3, and counts requests and bytes by the first part of the key."""

    def __init__(self, folder: Path) -> None:
        self._store = DirectoryStore(folder)
        self.requests: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """See `Store.url`."""
        return self._store.url

    def _count(self, key: str, size_bytes: int) -> None:
        kind = key.partition("/")[0]
        self.requests[kind] += 1
        self.bytes[kind] += size_bytes

    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """See `Store.put_if_absent`."""
        return self._store.put_if_absent(key, source, sha256)

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """See `Store.compare_and_set`."""
        return self._store.compare_and_set(key, data, expected)

    def delete(self, key: str, unmodified_since: datetime | None = None) -> bool:
        """See `Store.delete`."""
        return self._store.delete(key, unmodified_since)

    def delete_unfinished(self, before: datetime) -> int:
        """See `Store.delete_unfinished`."""
        return self._store.delete_unfinished(before)

    def read_versioned(self, key: str) -> VersionedValue | None:
        """Count and read."""
        found = self._store.read_versioned(key)
        self._count(key, 0 if found is None else len(found.data))
        return found

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Count and read."""
        data = self._store.read_range(key, start, length)
        self._count(key, len(data))
        return data

    def read_size_bytes(self, key: str) -> int:
        """Count and read."""
        self._count(key, 0)
        return self._store.read_size_bytes(key)

    def fetch(self, key: str, destination: Path) -> None:
        """Count and copy."""
        self._store.fetch(key, destination)
        self._count(key, destination.stat().st_size)

    def list(self, prefix: str) -> Iterator[StoreEntry]:
        """Count the pages and list."""
        for number, each in enumerate(self._store.list(prefix)):
            self.requests["listings"] += number % _PAGE == 0
            yield each

    def local_path(self, key: str) -> None:
        """Return None, as S3 does."""
