"""Pointers of a lake: small named JSON values, snapshots of many of them, and the values known from earlier reads.

A snapshot is one listing of the store. The listing has the version of every pointer, so that only pointers in a version
that is not in the cache are read. A listing must therefore show every finished write, as listings of a folder, of AWS
S3 (since December 2020), of MinIO and of Ceph do. If an endpoint lists late, a snapshot is an earlier state of the
pointer. That is harmless: `Lake.move_pointer` compares with the present state in any case.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Protocol

from habla_ml.errors import LakeError
from habla_ml.lake.store import Store, VersionedValue

_FOLDER: Final = "pointers/"
_SUFFIX: Final = ".json"
DEFAULT_CACHED_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Pointer:
    """A named JSON value and the tag of its state."""

    name: str
    value: Mapping[str, Any]
    tag: str


class PointerReader(Protocol):
    """A lake, or a snapshot of its pointers."""

    def read_pointer(self, name: str) -> Pointer | None:
        """Return the pointer `name`, or None; raises `LakeError` if it cannot be read."""


@dataclass(frozen=True)
class PointerSnapshot:
    """The pointers that start with `prefix`, or those of them in `names`, as of one listing."""

    prefix: str
    names: Collection[str] | None
    """The names that were asked for; None for all."""
    found: Mapping[str, Pointer | LakeError]
    """Name → pointer, or why it cannot be read; sorted by name."""

    def read_pointer(self, name: str) -> Pointer | None:
        """Return the pointer `name`, or None if it did not exist.

        Raises `LakeError` if this pointer could not be read, and `ValueError` if the snapshot does not cover the name.
        """
        if not name.startswith(self.prefix) or (self.names is not None and name not in self.names):
            raise ValueError(f"the snapshot of {self.prefix}* does not cover the pointer {name}; include it")
        found = self.found.get(name)
        if isinstance(found, LakeError):
            raise found
        return found

    def list_pointers(self) -> list[Pointer]:
        """Return all pointers, sorted by name; raise `LakeError` if one of them could not be read."""
        return [pointer for name in self.found if (pointer := self.read_pointer(name)) is not None]


class PointerCache:
    """Parsed pointers by name and version, up to a total size of their JSON. Threads can share it.

    The parsed values take about four times the memory of their JSON (`benchmarks/bench_tick.py`).
    """

    def __init__(self, limit_bytes: int = DEFAULT_CACHED_BYTES) -> None:
        """Keep no further pointers once their JSON has `limit_bytes` in all."""
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._known: dict[str, tuple[str, int, Pointer]] = {}
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """Size of the JSON of all cached pointers."""
        return self._size_bytes

    def find(self, name: str, version: str) -> Pointer | None:
        """Return the pointer in that version, or None."""
        known = self._known.get(name)
        return known[2] if known is not None and known[0] == version and version else None

    def add(self, pointer: Pointer, version: str, size_bytes: int) -> None:
        """Replace what is known of the pointer; an empty version is not kept."""
        self.drop([pointer.name])
        with self._lock:
            if version and self._size_bytes + size_bytes <= self._limit_bytes:
                self._known[pointer.name] = (version, size_bytes, pointer)
                self._size_bytes += size_bytes

    def drop(self, names: Collection[str]) -> None:
        """Forget these pointers."""
        with self._lock:
            for name in names:
                if (known := self._known.pop(name, None)) is not None:
                    self._size_bytes -= known[1]

    def list_names(self, prefix: str) -> set[str]:
        """Return the names of the cached pointers that start with `prefix`."""
        with self._lock:
            return {name for name in self._known if name.startswith(prefix)}


def make_pointer_key(name: str) -> str:
    """Return the key of the pointer `name` in a store."""
    return f"{_FOLDER}{name}{_SUFFIX}"


def list_pointer_versions(store: Store, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of the pointers that start with `prefix`, sorted by name."""
    for entry in store.list(f"{_FOLDER}{prefix}"):
        yield entry.key.removeprefix(_FOLDER).removesuffix(_SUFFIX), entry.version


def parse_pointer(name: str, stored: VersionedValue, url: str) -> Pointer:
    """Return the pointer; raise `LakeError` if it is not a JSON object."""
    try:
        value = json.loads(stored.data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LakeError(f"pointer {name} in {url} is not a JSON object; restore that file from a backup")
    return Pointer(name, value, stored.tag)


def read_snapshot(
    store: Store, cache: PointerCache, prefix: str, names: Collection[str] | None = None
) -> PointerSnapshot:
    """List the pointers that start with `prefix`, and read those in an unknown version, several at a time.

    Args:
        store: The store of the lake.
        cache: What is known from earlier reads; it is updated.
        prefix: Start of the names.
        names: Read only these; None reads all.

    Raises:
        LakeError: The store cannot be listed. A pointer that cannot be read is an entry of the snapshot.
    """
    versions = dict(list_pointer_versions(store, prefix))
    cache.drop(cache.list_names(prefix).difference(versions))
    found: dict[str, Pointer | LakeError] = {}
    unknown: list[str] = []
    for name, version in versions.items():
        if names is None or name in names:
            if (pointer := cache.find(name, version)) is not None:
                found[name] = pointer
            else:
                unknown.append(name)

    def read(name: str) -> Pointer | LakeError | None:
        try:
            if (stored := store.read_versioned(make_pointer_key(name))) is None:
                return None  # deleted since the listing
            pointer = parse_pointer(name, stored, store.url)
        except LakeError as error:
            return error
        cache.add(pointer, stored.version, len(stored.data))
        return pointer

    if len(unknown) > 1 and store.parallel_reads > 1:
        with ThreadPoolExecutor(min(store.parallel_reads, len(unknown))) as pool:
            values = list(pool.map(read, unknown))
    else:
        values = list(map(read, unknown))
    found |= {name: value for name, value in zip(unknown, values, strict=True) if value is not None}
    return PointerSnapshot(prefix, names, dict(sorted(found.items())) if unknown else found)
