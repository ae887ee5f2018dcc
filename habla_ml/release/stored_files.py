"""The files of a release, read back from the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from habla_ml.errors import ObjectMissingError, ReleaseError
from habla_ml.lake import Store, compute_sha256
from habla_ml.release.channel import ChannelState
from habla_ml.release.manifest import read_manifest
from habla_ml.scratch import make_scratch_folder


@contextmanager
def open_release_scratch(work_folder: Path | None) -> Iterator[Path]:
    """Open a folder for files as large as the archives; without a work folder it is one of the system."""
    if work_folder is not None:
        with make_scratch_folder(work_folder, "release") as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="release-") as name:
            yield Path(name)


def verify_release_files(store: Store, state: ChannelState) -> None:
    """Read all files of a release back; raises `ReleaseError` if one is missing or differs."""
    manifest = read_manifest(store, state.manifest_key)
    with open_release_scratch(None) as scratch:
        # Its own size: a manifest of an earlier version lacks fields and would be written in other bytes today.
        size_bytes = len(store.read(state.manifest_key))
        verify_stored_file(store, state.manifest_key, size_bytes, state.manifest_sha256, scratch)
        for each in manifest.archives:
            verify_stored_file(store, each.key, each.size_bytes, each.sha256, scratch)


def verify_stored_file(store: Store, key: str, size_bytes: int, sha256: str, scratch: Path) -> None:
    """Read a stored file back; raises `ReleaseError` if it is missing or differs."""
    try:
        path = store.local_path(key)
        if path is None:
            path = scratch / "read-back"
            store.fetch(key, path)
    except ObjectMissingError:
        raise ReleaseError(f"{key} is not in {store.url}; restore it from a backup or release again") from None
    found = (path.stat().st_size, compute_sha256(path))
    if found != (size_bytes, sha256):
        raise ReleaseError(
            f"{key} in {store.url} is damaged: {found[0]} bytes with sha256 {found[1]}, expected {size_bytes} "
            f"bytes with {sha256}; remove that file and release again"
        )
