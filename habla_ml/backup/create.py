"""Make a backup of a lake: its pointers, and every object that they lead to.

The pointers are read first and until two reads in a row find the same, so that they are of one moment. Objects are
immutable, so copying them takes the time that it needs while the pipeline goes on. Only objects that the store of the
backups does not have are copied. The manifest is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from habla_ml.backup.lock import BackupLock, hold_backup_lock
from habla_ml.backup.manifest import (
    BACKUPS_PREFIX,
    BackupManifest,
    list_manifest_keys,
    list_readable_manifests,
    make_backup_name,
    make_ids_key,
    put_manifest,
)
from habla_ml.backup.prune import (
    PruneReport,
    choose_expired,
    find_before_erasure,
    find_irreplaceable,
    list_lasting,
    list_stored_objects,
    remove_backups,
    subtract_sorted,
)
from habla_ml.code_identity import read_code_identity
from habla_ml.errors import LakeError, ObjectMissingError
from habla_ml.integrity.check import SETTINGS_NAME
from habla_ml.integrity.copy_object import DamagedObjectError, copy_object, remove_unless_whole
from habla_ml.integrity.object_index import IndexedObject, ObjectIndex, open_object_index
from habla_ml.integrity.walk import LakeWalk
from habla_ml.lake import Lake, Pointer, Store, catalogue
from habla_ml.scratch import make_scratch_folder

_ATTEMPTS: Final = 3
_POINTER_READS: Final = 5
_PENDING_COPIES: Final = 64
_LISTED_FAULTS: Final = 100


@dataclass(frozen=True)
class BackupRequest:
    """What to back up, and where to."""

    lake: Lake
    source: Store
    """The store of the lake."""
    target: Store
    work_folder: Path
    named_by_settings: Mapping[str, Any]
    """Values of the settings that name objects."""
    keep: int | None = None
    """Number of complete backups that stay; None keeps all."""
    drop_before_erasure: bool = False
    """Remove the backups that can hold an erased voice."""


@dataclass(frozen=True)
class BackupReport:
    """A finished backup."""

    manifest: BackupManifest
    copied: int
    copied_bytes: int
    pruned: PruneReport
    before_erasure: tuple[str, ...]
    """Remaining backups that were made before the last erasure and can hold the erased voice."""
    irreplaceable: tuple[str, ...]
    """Backups with days or models that the lake lacks now; they are never removed."""
    unreadable: tuple[str, ...]
    """What is wrong with manifests of other backups, one sentence each. Then no backup is removed."""


@dataclass(frozen=True)
class _CopiedObjects:
    """Result of copying."""

    number: int
    size_bytes: int
    faults: Mapping[str, str]
    """Pointer → the first fault below it."""


def create_backup(
    request: BackupRequest, now: datetime, progress: Callable[[str], None] = lambda _: None
) -> BackupReport:
    """Make a backup, and then remove old ones as the request says. Without `keep` and `drop_before_erasure` nothing is removed.

    A backup of a damaged lake has the rest of it, and its manifest lists the faults. Then no backup is removed. Nor is one
    with a day or a model that the lake has lost, since it can be the only copy.

    Raises:
        LakeError: A store cannot be read or written, another backup runs, an erasure runs at the same time, a backup
            has a later name, or the lake is not restored yet, or has nothing of what the backups have. There is no new
            backup; what was copied is used by the next one.
    """
    _require_separate(request.source, request.target)
    with hold_backup_lock(request.target) as lock, make_scratch_folder(request.work_folder, "backup") as scratch:
        _require_newest(request.target, now)
        _require_own_lake(request)
        for _ in range(_ATTEMPTS):
            made = _try_backup(request, now, lock, scratch, progress)
            if made is not None:
                break
            progress("an erasure or a removal happened meanwhile; reading the pointers again")
        else:
            raise LakeError(
                f"pointers of {request.lake.url} lost their objects during {_ATTEMPTS} attempts; run again when the erasure "
                "or the cleanup has ended"
            )
        manifest, copied = made
        manifests, unreadable = list_readable_manifests(request.target)
        irreplaceable = find_irreplaceable(manifests)
        expired: set[str] = set()
        pruned = PruneReport((), 0, 0)
        if manifest.is_complete and not unreadable and (request.keep or request.drop_before_erasure):
            expired.update(choose_expired(manifests, request.keep) if request.keep else ())
            expired.update(find_before_erasure(manifests) if request.drop_before_erasure else ())
            expired.difference_update(irreplaceable)
            pruned = remove_backups(request.target, sorted(expired), lock, scratch)
        before_erasure = tuple(each for each in find_before_erasure(manifests) if each not in expired)
    return BackupReport(
        manifest,
        copied.number,
        copied.size_bytes,
        pruned,
        before_erasure,
        irreplaceable=tuple(irreplaceable),
        unreadable=tuple(unreadable),
    )


def _try_backup(
    request: BackupRequest, now: datetime, lock: BackupLock, scratch: Path, progress: Callable[[str], None]
) -> tuple[BackupManifest, _CopiedObjects] | None:
    """Return the backup, or None if objects left the lake during it because another process erased data."""
    pointers, moved, faults = _read_pointers(request.lake)
    with open_object_index(request.work_folder) as index:
        index.add(list_stored_objects(request.source))
        walk = LakeWalk(request.lake, index)
        named = [*((each.name, each.value) for each in pointers), (SETTINGS_NAME, request.named_by_settings)]
        for name, value in named:
            lock.renew()
            for fault in walk.follow(name, value):
                key = f" ({fault.key})" if fault.key else ""
                faults.setdefault(name, f"{name}: object {fault.object_id}{key} {fault.fault}")
        number, size_bytes = index.sum_reached()
        progress(f"{len(pointers):,} pointers lead to {number:,} objects, {size_bytes / 1e9:,.2f} GB")
        copied = _copy_missing(request, index, lock, scratch, progress)
        faults |= {name: fault for name, fault in copied.faults.items() if name not in faults}
        if _has_lost_objects(request.lake, pointers, faults):
            return None
        name = make_backup_name(now)
        ids_sha256 = _put_ids(request.target, name, index, scratch)
    manifest = BackupManifest(
        name=name,
        created_at=now,
        lake=request.lake.url,
        code=str(read_code_identity()),
        pointers={each.name: dict(each.value) for each in pointers},
        moved_meanwhile=moved,
        objects=number,
        size_bytes=size_bytes,
        ids_sha256=ids_sha256,
        faults=tuple(sorted(faults.values()))[:_LISTED_FAULTS],
    )
    put_manifest(request.target, manifest)
    return manifest, copied


def _read_pointers(lake: Lake) -> tuple[list[Pointer], tuple[str, ...], dict[str, str]]:
    """Return the pointers of one moment, the names of those that moved between the last two reads, and read errors."""
    before: dict[str, Pointer] = {}
    moved: tuple[str, ...] = ()
    faults: dict[str, str] = {}
    for read in range(_POINTER_READS):
        snapshot = {name: each for name, each in lake.read_pointers("").found.items() if _is_kept(name)}
        faults = {name: str(each) for name, each in snapshot.items() if isinstance(each, LakeError)}
        found = {name: each for name, each in snapshot.items() if isinstance(each, Pointer)}
        moved = tuple(sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name)))
        before = found
        if read and not moved:
            break
    return list(before.values()), moved, faults


def _is_kept(name: str) -> bool:
    """Return whether a pointer is part of a backup; not unfinished trainings, whose checkpoints are replaced all the time."""
    transient = (catalogue.CLEANUP_MARKS, catalogue.ERASURE_INDEX, catalogue.UNFINISHED_RESTORE)
    return name not in transient and catalogue.UNFINISHED_TRAINING.parts(name) is None


def _has_lost_objects(lake: Lake, pointers: Iterable[Pointer], faults: Mapping[str, str]) -> bool:
    """Return whether an erasure began meanwhile, or a pointer with a fault has moved on."""
    watched = {each.name: each for each in pointers if each.name in faults}
    tombstones = next((each for each in pointers if each.name == catalogue.TOMBSTONES), None)
    if lake.read_pointer(catalogue.TOMBSTONES) != tombstones:
        return True
    return any(lake.read_pointer(name) != seen for name, seen in watched.items())


def _copy_missing(
    request: BackupRequest, index: ObjectIndex, lock: BackupLock, scratch: Path, progress: Callable[[str], None]
) -> _CopiedObjects:
    """Copy the reached objects that the target does not have in their size."""
    number, size_bytes = 0, 0
    faults: dict[str, str] = {}
    threads = max(request.source.parallel_reads, request.target.parallel_reads)
    copy = partial(_copy, request.source, request.target, scratch)
    with ThreadPoolExecutor(threads) as pool:
        missing = _list_missing(request.target, index, scratch)
        while batch := list(islice(missing, _PENDING_COPIES)):
            lock.renew()
            done: list[tuple[IndexedObject, Future[str | None]]] = [(each, pool.submit(copy, each)) for each in batch]
            for each, future in done:
                if fault := future.result():
                    index.add_faulty(each.sha256)
                    pointer = index.find_pointer(each.sha256) or SETTINGS_NAME
                    faults.setdefault(pointer, f"{pointer}: {fault}")
                else:
                    number, size_bytes = number + 1, size_bytes + each.size_bytes
            progress(f"{number:,} objects copied, {size_bytes / 1e9:,.2f} GB")
    return _CopiedObjects(number, size_bytes, faults)


def _list_missing(target: Store, index: ObjectIndex, scratch: Path) -> Iterator[IndexedObject]:
    """Yield the reached objects that the target lacks or has in another size, because a disk lost a part.

    The part can be lost in the lake. So the target's copy is removed only if it is the damaged one.
    """
    yield from subtract_sorted(index.list_reached(), _list_whole_ids(target, index, scratch))


def _list_whole_ids(target: Store, index: ObjectIndex, scratch: Path) -> Iterator[str]:
    for each in list_stored_objects(target):
        if index.find_size_bytes(each.sha256) in (None, each.size_bytes):
            yield each.sha256
        else:
            remove_unless_whole(target, each.sha256, scratch)


def _copy(source: Store, target: Store, scratch: Path, wanted: IndexedObject) -> str | None:
    """Copy an object; return what is wrong with it in the lake, or None."""
    try:
        copy_object(source, target, wanted.sha256, scratch)
    except (ObjectMissingError, DamagedObjectError) as error:
        return str(error)
    return None


def _put_ids(target: Store, name: str, index: ObjectIndex, scratch: Path) -> str:
    """Store the sorted ids of the copied objects; return the sha256 of the list."""
    path = scratch / f"{name}.ids.new"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for each in index.list_reached():
            if not index.is_faulty(each.sha256):
                digest.update(bytes.fromhex(each.sha256))
                file.write(bytes.fromhex(each.sha256))
    target.delete(make_ids_key(name))  # of a killed backup with the same second
    target.put_if_absent(make_ids_key(name), path, digest.hexdigest())
    return digest.hexdigest()


def _require_newest(target: Store, now: datetime) -> None:
    """Raise `LakeError` if a backup has a later name: which of them to keep or to restore is decided by their names."""
    name, newest = make_backup_name(now), max(list_manifest_keys(target), default="")
    if newest > name:
        raise LakeError(
            f"{target.url} has the backup {newest}, and the clock says {name}; set the clock, or move {BACKUPS_PREFIX}{newest} "
            "away if its time is wrong"
        )


def _require_own_lake(request: BackupRequest) -> None:
    """Raise `LakeError` if the lake is not whole yet, or not the one of the backups: its disk may not be mounted."""
    lake, present = request.lake, set(request.lake.list_pointers(""))
    if catalogue.UNFINISHED_RESTORE in present:
        raise LakeError(f"{lake.url} has an unfinished restore; run `habla-ml restore` again, then the backup")
    saved = next((each for each in reversed(list_readable_manifests(request.target)[0]) if each.is_complete), None)
    lasting = frozenset[str]() if saved is None else list_lasting(saved.pointers)
    if saved is not None and lasting and present.isdisjoint(lasting):
        raise LakeError(
            f"{lake.url} has none of the {len(lasting)} days and models in the backup {saved.name}; mount its disk, correct "
            "lake.url, or choose another folder for the backups of a new lake"
        )


def _require_separate(source: Store, target: Store) -> None:
    """Raise `LakeError` if the backup would be in the lake or around it."""
    for outer, inner in ((source.url, target.url), (target.url, source.url)):
        if inner == outer or inner.startswith(f"{outer}/"):
            raise LakeError(
                f"the backup {target.url} and the lake {source.url} overlap; choose another folder or bucket"
            )
