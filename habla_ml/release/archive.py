"""Archives as they are published: one zip each, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from habla_ml.errors import ReleaseError
from habla_ml.release.manifest import ArchivedFile

_ENTRY_DATE = (1980, 1, 1, 0, 0, 0)
_CHUNK_BYTES = 1 << 20


def zip_folder(folder: Path, destination: Path) -> Path:
    """Zip every file below `folder`: sorted, one date and mode, not deflated (weights hardly shrink)."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    if not files:
        raise ReleaseError(f"{folder} holds no files to release; export the model version again")
    try:
        with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as archive:
            for name, path in files:
                entry = zipfile.ZipInfo(name, _ENTRY_DATE)
                entry.create_system = 3  # Unix, wherever this runs
                entry.external_attr = 0o644 << 16
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, _CHUNK_BYTES)
    except OSError as error:
        raise ReleaseError(
            f"cannot zip {folder} to {destination}: {error.strerror}; free some space there"
        ) from error
    return destination


def list_archived_files(path: Path) -> tuple[ArchivedFile, ...]:
    """The files inside a zip, read through once; raises `ReleaseError` where it is broken or could escape."""
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                inside = PurePosixPath(entry.filename)
                if inside.is_absolute() or ".." in inside.parts:
                    raise ReleaseError(
                        f"{path} holds {entry.filename!r}, which leaves its folder; export it again"
                    )
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
