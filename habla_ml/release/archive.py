"""The files inside a published archive."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from habla_ml.errors import ReleaseError
from habla_ml.release.manifest import ArchivedFile

_CHUNK_BYTES = 1 << 20


def list_archived_files(path: Path) -> tuple[ArchivedFile, ...]:
    """List and hash the files inside a zip; raises `ReleaseError` if it is broken or a path leaves its folder."""
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                inside = PurePosixPath(entry.filename)
                if inside.is_absolute() or ".." in inside.parts:
                    raise ReleaseError(f"{path} holds {entry.filename!r}, which leaves its folder; export it again")
                if not entry.is_dir():
                    found.append(_hash_entry(archive, entry))
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ReleaseError(f"{path} cannot be read as a zip ({error}); export the model version again") from error
    return tuple(found)


def _hash_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> ArchivedFile:
    digest = hashlib.sha256()
    with archive.open(entry) as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return ArchivedFile(path=entry.filename, size_bytes=entry.file_size, sha256=digest.hexdigest())
