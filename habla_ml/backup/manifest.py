"""What a backup consists of, and where it is in its store.

Layout of a store of backups, which any number of backups share:

    objects/ab/abcdef…                     as in the lake
    backups/<name>/objects.ids             the ids of the backup's objects, sorted, 32 bytes each
    backups/<name>/manifest-<sha256>.json  written last: a backup without it does not exist
    backups/lock.json                      the process that writes
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from habla_ml.errors import InputError, LakeError
from habla_ml.lake import Store, catalogue, compute_sha256

BACKUPS_PREFIX: Final = "backups/"
ID_BYTES: Final = 32
_BATCH_BYTES: Final = ID_BYTES << 15
_NAME_FORMAT: Final = "%Y-%m-%dT%H-%M-%SZ"


class DamagedManifestError(LakeError):
    """A manifest has other bytes than were written, or another version of habla_ml wrote it."""


class BackupManifest(BaseModel):
    """One backup of a lake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["habla_ml.backup/1"] = "habla_ml.backup/1"
    name: str
    created_at: datetime
    """UTC; when the pointers were read."""
    lake: str
    """Location of the lake."""
    code: str
    """Version and commit of habla_ml."""
    pointers: Mapping[str, Mapping[str, Any]]
    """Name → value."""
    moved_meanwhile: tuple[str, ...]
    """Pointers that other processes kept moving, so that the others may be of a moment before or after them."""
    objects: int
    size_bytes: int
    ids_sha256: str
    """sha256 of the file with the ids."""
    faults: tuple[str, ...]
    """What was missing or damaged in the lake, one sentence each. Empty for a complete backup."""

    @property
    def is_complete(self) -> bool:
        """Whether the backup has everything that its pointers need."""
        return not self.faults

    @property
    def tombstones(self) -> str | None:
        """Object id of the tombstones, or None before the first erasure."""
        found = self.pointers.get(catalogue.TOMBSTONES)
        return None if found is None else found["tombstones"]


def make_backup_name(now: datetime) -> str:
    """Return the name of a backup that begins at this time (UTC); names sort by time."""
    return now.strftime(_NAME_FORMAT)


def make_ids_key(name: str) -> str:
    """Return the key of the list of a backup's objects."""
    return f"{BACKUPS_PREFIX}{name}/objects.ids"


def put_manifest(store: Store, manifest: BackupManifest) -> None:
    """Write a manifest, which makes the backup exist."""
    data = manifest.model_dump_json(indent=1).encode()
    digest = hashlib.sha256(data).hexdigest()
    store.put_if_absent(f"{BACKUPS_PREFIX}{manifest.name}/manifest-{digest}.json", data, digest)


def list_manifest_keys(store: Store) -> dict[str, str]:
    """Return name → key of the manifest of every backup, the oldest first."""
    keys = (each.key for each in store.list(BACKUPS_PREFIX))
    return {key.split("/")[1]: key for key in keys if "/manifest-" in key}


def list_manifests(store: Store) -> list[BackupManifest]:
    """Return all backups, the oldest first, with the errors of `read_manifest`."""
    return [read_manifest(store, key) for key in list_manifest_keys(store).values()]


def list_readable_manifests(store: Store) -> tuple[list[BackupManifest], list[str]]:
    """Return the backups whose manifest can be read, the oldest first, and what is wrong with the other manifests."""
    manifests, faults = list[BackupManifest](), list[str]()
    for key in list_manifest_keys(store).values():
        try:
            manifests.append(read_manifest(store, key))
        except DamagedManifestError as error:
            faults.append(str(error))
    return manifests, faults


def read_manifest(store: Store, key: str) -> BackupManifest:
    """Read a manifest; raise `DamagedManifestError` if it is damaged or of another version."""
    data = store.read(key)
    if hashlib.sha256(data).hexdigest() not in key:
        raise DamagedManifestError(
            f"{key} in {store.url} is damaged: its bytes have another sha256; use another backup"
        )
    try:
        return BackupManifest.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]["msg"]
        raise DamagedManifestError(
            f"{key} in {store.url} is of another version of habla_ml ({fault}); use a newer one"
        ) from None


def find_backup(store: Store, name: str | None) -> BackupManifest:
    """Return a backup by its name, or the newest complete one; raise `InputError` if there is none."""
    keys = list_manifest_keys(store)
    if name is not None:
        if name not in keys:
            fault = f"{store.url} has no backup {name!r}"
            raise InputError(f"{fault}; `habla-ml backup list {shlex.quote(store.url)}` shows {len(keys)} backups")
        return read_manifest(store, keys[name])
    for key in reversed(keys.values()):
        if (manifest := read_manifest(store, key)).is_complete:
            return manifest
    incomplete = (
        f", only incomplete ones: name one with --backup ({', '.join(keys)})" if keys else "; look at the address"
    )
    raise InputError(f"{store.url} has no complete backup{incomplete}")


def read_ids(store: Store, name: str, scratch: Path) -> Iterator[str]:
    """Yield the ids of a backup's objects, sorted; memory holds 1 MiB of them. Raises `LakeError` for a cut list."""
    key = make_ids_key(name)
    path = store.local_path(key)
    if path is None:
        path = scratch / f"{name}.ids"
        if not path.exists():
            store.fetch(key, path)
    with path.open("rb") as file:
        while batch := file.read(_BATCH_BYTES):
            if len(batch) % ID_BYTES:
                raise LakeError(f"{key} in {store.url} is damaged: it is cut; use another backup")
            yield from (batch[at : at + ID_BYTES].hex() for at in range(0, len(batch), ID_BYTES))


def check_ids(store: Store, manifest: BackupManifest, scratch: Path) -> None:
    """Raise `LakeError` if the list of a backup's objects is damaged."""
    key = make_ids_key(manifest.name)
    path = store.local_path(key)
    if path is None:
        path = scratch / f"{manifest.name}.ids"
        store.fetch(key, path)
    if compute_sha256(path) != manifest.ids_sha256:
        raise LakeError(f"{key} in {store.url} is damaged: its bytes have another sha256; use another backup")
