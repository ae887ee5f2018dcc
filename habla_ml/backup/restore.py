"""Restore a backup into an empty lake.

Objects are copied first and verified by their sha256, then the tombstones are written, then the other pointers. The
newest tombstones of the store apply, because an erasure after the restored backup must not be undone. So does one that had
begun before the backup and not ended. A pointer marks the lake as unfinished until the end, so that a restore that was
killed can run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from habla_ml.backup.manifest import BackupManifest, check_ids, find_backup, list_readable_manifests, read_ids
from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import Contributor
from habla_ml.consent.tombstones import add_tombstones, read_tombstones
from habla_ml.erasure.contributor_data import find_contributor_data, find_withdrawn_days
from habla_ml.erasure.erase import reapply_tombstones
from habla_ml.errors import InputError
from habla_ml.inbox.database import open_existing_database
from habla_ml.inbox.erased_clips import list_erased_segments
from habla_ml.integrity.copy_object import copy_object, remove_unless_whole
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings

_PENDING_COPIES: Final = 64
_ERASED_UPLOADS: Final = "habla_ml.erased_uploads"
"""In place of a pseudonym."""


@dataclass(frozen=True)
class RestoreRequest:
    """Which backup to restore, and where to."""

    backups: Store
    """Only read."""
    name: str | None
    """Of the backup; None for the newest complete one."""
    lake: Lake
    """The empty lake."""
    target: Store
    """The store of that lake."""
    settings: Settings
    """For the work folder, and the register of consents."""


@dataclass(frozen=True)
class RestoreReport:
    """A finished restore."""

    manifest: BackupManifest
    is_erased_again: bool
    """Whether an erasure that ended after the backup, or never, was applied to the restored lake."""
    moved_pointers: int
    """Pointers that it moved to content without the erased voice."""
    deleted_objects: int
    withdrawn: Mapping[str, tuple[str, ...]]
    """Contributor with a withdrawn consent → days of the restored lake that have the voice; to be erased."""
    unreadable: tuple[str, ...]
    """What is wrong with manifests of other backups, one sentence each. Erasures that only they have are not applied."""


def restore_backup(
    request: RestoreRequest, now: datetime, progress: Callable[[str], None] = lambda _: None
) -> RestoreReport:
    """Restore a backup into an empty lake.

    Raises:
        InputError: There is no such backup, the lake is not empty, or the register cannot be read.
        LakeError: A store cannot be read or written, or the backup is damaged. Run again; what is copied stays.
    """
    lake, settings = request.lake, request.settings
    manifest = find_backup(request.backups, request.name)
    consents = load_consents(settings, now)
    register, today = consents.register, consents.today  # read now: an unreadable register must not stop it at the end
    _mark_unfinished(lake, manifest, request.backups.url)
    others, unreadable = list_readable_manifests(request.backups)
    tombstones = _find_newest_tombstones(others) or manifest.tombstones
    with make_scratch_folder(settings.work_folder, "restore") as scratch:
        check_ids(request.backups, manifest, scratch)
        _copy_objects(request, manifest, scratch, progress)
        if tombstones is not None:
            _copy(request.backups, request.target, scratch, tombstones)
    first = {} if tombstones is None else {catalogue.TOMBSTONES: {"tombstones": tombstones}}
    pointers = {**first, **manifest.pointers, **first}
    for name, value in pointers.items():
        if lake.read_pointer(name) is None:
            lake.move_pointer(name, value, None)
    progress(f"{len(pointers):,} pointers written")
    _add_erased_uploads(lake, settings)
    is_erased_again = tombstones != manifest.tombstones or not read_tombstones(lake).are_applied
    moved, deleted = 0, 0
    if is_erased_again:
        progress("an erasure had not ended before this backup; it is applied to the restored lake")
        moved, deleted = reapply_tombstones(lake, settings, now)
    _request_inbox_comparison(lake, manifest)
    lake.delete_pointer(catalogue.UNFINISHED_RESTORE)
    withdrawn = find_withdrawn_days(lake, register, today)
    return RestoreReport(manifest, is_erased_again, moved, deleted, withdrawn, tuple(unreadable))


def _mark_unfinished(lake: Lake, manifest: BackupManifest, backups: str) -> None:
    """Mark the lake as being restored; raise `InputError` if it has pointers that this restore did not write."""
    marker = lake.read_pointer(catalogue.UNFINISHED_RESTORE)
    if marker is not None and marker.value["backup"] == manifest.name:
        return
    found = next(lake.list_pointers(""), None)
    if marker is not None:
        raise InputError(
            f"{lake.url} has the unfinished restore of {marker.value['backup']}; continue it with --backup "
            f"{marker.value['backup']}, or restore {manifest.name} into another folder or prefix"
        )
    if found is not None:
        raise InputError(
            f"{lake.url} is not empty, it has the pointer {found}. A restore never writes over a lake, because that would "
            "lose what is newer than the backup. Restore into an empty folder or prefix, look at it, then set lake.url to it"
        )
    lake.move_pointer(catalogue.UNFINISHED_RESTORE, {"backup": manifest.name, "from": backups}, None)


def _find_newest_tombstones(manifests: Sequence[BackupManifest]) -> str | None:
    """Return the tombstones of the newest backup that has any; tombstones only grow."""
    return next((each.tombstones for each in reversed(manifests) if each.tombstones is not None), None)


def _add_erased_uploads(lake: Lake, settings: Settings) -> None:
    """Write tombstones for the clips that the service erased after the last backup, whoever has consented again since."""
    with open_existing_database(settings) as database:
        erased = frozenset[str]() if database is None else list_erased_segments(database)
    lost = erased - read_tombstones(lake).segments
    if lost:
        data = find_contributor_data(lake, Contributor(contributor=_ERASED_UPLOADS, segments=tuple(sorted(lost))))
        add_tombstones(lake, lost | data.segments, data.sounds, data.streams)


def _request_inbox_comparison(lake: Lake, manifest: BackupManifest) -> None:
    """Let the pipeline read again what the service received and the restored lake lacks (`annotation.restored_inbox`).

    A saved lake that was itself restored, and not compared yet, lacks what came since the first backup.
    """
    if lake.read_pointer(catalogue.RESTORED) is None:
        value = {"backup": manifest.name, "at": manifest.created_at.isoformat()}
        lake.move_pointer(catalogue.RESTORED, value, None)


def _copy_objects(
    request: RestoreRequest, manifest: BackupManifest, scratch: Path, progress: Callable[[str], None]
) -> None:
    """Copy all objects of a backup, and verify those that the lake has already."""
    ids = read_ids(request.backups, manifest.name, scratch)
    copy = partial(_copy, request.backups, request.target, scratch)
    threads, copied = max(request.backups.parallel_reads, request.target.parallel_reads), 0
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(ids, _PENDING_COPIES)):
            copied += len(list(pool.map(copy, batch)))
            progress(f"{copied:,} of {manifest.objects:,} objects restored")


def _copy(backups: Store, target: Store, scratch: Path, sha256: str) -> None:
    if not remove_unless_whole(target, sha256, scratch):
        copy_object(backups, target, sha256, scratch)
