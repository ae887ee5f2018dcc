"""Zip archives whose bytes depend only on their content."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from habla_ml.errors import ExportError

_ENTRY_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store


def list_folder(folder: Path) -> list[tuple[str, Path]]:
    """Return relative name and path of every file below a folder, sorted by name."""
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def zip_folder(folder: Path, destination: Path, file_mode: int = 0o644) -> Path:
    """Zip every file below a folder: sorted by name, one date and mode, not deflated because weights hardly shrink.

    Raises:
        ExportError: The folder has no files, or the archive cannot be written.
    """
    files = list_folder(folder)
    if not files:
        raise ExportError(f"{folder} has no files to zip; export the model version again")
    try:
        with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as archive:
            for name, path in files:
                entry = zipfile.ZipInfo(name, _ENTRY_DATE)
                entry.create_system = 3  # Unix, on every platform
                entry.external_attr = file_mode << 16
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except OSError as error:
        raise ExportError(f"cannot zip {folder} to {destination}: {error.strerror}; free some space there") from error
    return destination
