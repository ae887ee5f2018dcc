"""Remove old backups from a store, and the objects that no backup names any more."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from habla_ml.backup.lock import BackupLock
from habla_ml.backup.manifest import (
    BACKUPS_PREFIX,
    BackupManifest,
    check_ids,
    list_manifest_keys,
    list_manifests,
    make_ids_key,
    read_ids,
)
from habla_ml.integrity.object_index import IndexedObject
from habla_ml.lake import Store, catalogue
from habla_ml.lake.lake import make_object_key

_LASTING_FAMILIES: Final = (catalogue.RECORDINGS, catalogue.ANNOTATIONS, catalogue.PLAN, catalogue.CHECKPOINT)
_LASTING_NAMES: Final = frozenset({catalogue.SPLIT_LEDGER, catalogue.TOMBSTONES})


@dataclass(frozen=True)
class PruneReport:
    """What was removed."""

    backups: tuple[str, ...]
    objects: int
    size_bytes: int


def choose_expired(manifests: Sequence[BackupManifest], keep: int) -> list[str]:
    """Return the names of the backups before the `keep` newest complete ones; the manifests are sorted by time."""
    complete = [each.name for each in manifests if each.is_complete]
    if len(complete) <= keep:
        return []
    return [each.name for each in manifests if each.name < complete[-keep]]


def find_before_erasure(manifests: Sequence[BackupManifest]) -> list[str]:
    """Return the names of the backups with other tombstones than the newest one: they can hold an erased voice."""
    return [each.name for each in manifests[:-1] if each.tombstones != manifests[-1].tombstones] if manifests else []


def list_lasting(names: Iterable[str]) -> frozenset[str]:
    """Return those of the pointers that never leave a lake: days, corrections, models, the ledger and the tombstones."""
    families = _LASTING_FAMILIES
    return frozenset(each for each in names if each in _LASTING_NAMES or any(family.parts(each) for family in families))


def find_irreplaceable(manifests: Sequence[BackupManifest]) -> list[str]:
    """Return the names of the backups with a lasting pointer that the newest one lacks: it is not in the lake any more."""
    present = manifests[-1].pointers.keys() if manifests else frozenset[str]()
    return [each.name for each in manifests if list_lasting(each.pointers.keys() - present)]


def remove_backups(store: Store, names: Iterable[str], lock: BackupLock, scratch: Path) -> PruneReport:
    """Remove these backups, then what no backup names: objects, and files of killed backups.

    Raises `LakeError` if a remaining backup cannot be read. Then no object is removed.
    """
    keys = list_manifest_keys(store)
    removed = [name for name in names if name in keys]
    for name in removed:
        store.delete(keys[name])  # first, so that a backup whose objects are leaving does not exist
    manifests = list_manifests(store)
    for each in manifests:
        check_ids(store, each, scratch)
    kept = {each.name for each in manifests}
    unfinished = {each.key.split("/")[1] for each in store.list(BACKUPS_PREFIX) if each.key.count("/") == 2} - kept
    for name in unfinished:
        store.delete(make_ids_key(name))
    needed = heapq.merge(*(read_ids(store, name, scratch) for name in kept))
    objects, size_bytes = 0, 0
    for unneeded in subtract_sorted(list_stored_objects(store), needed):
        lock.renew()
        store.delete(make_object_key(unneeded.sha256))
        objects, size_bytes = objects + 1, size_bytes + unneeded.size_bytes
    return PruneReport(tuple(removed), objects, size_bytes)


def list_stored_objects(store: Store) -> Iterator[IndexedObject]:
    """Yield the objects of a store of backups, sorted by id."""
    for entry in store.list("objects/"):
        yield IndexedObject(entry.key.rpartition("/")[2], entry.size_bytes)


def subtract_sorted(objects: Iterable[IndexedObject], ids: Iterable[str]) -> Iterator[IndexedObject]:
    """Yield the objects whose id is not in `ids`; both are sorted, and `ids` can repeat."""
    others = iter(ids)
    other = next(others, None)
    for each in objects:
        while other is not None and other < each.sha256:
            other = next(others, None)
        if other != each.sha256:
            yield each
