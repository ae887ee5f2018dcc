"""Unpacks an archive of which every file is stated: no other file, no path outside the folder, no byte more."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from habla_ml.client.channel_statement import StatedFile
from habla_ml.client.problems import DamagedDownloadError

_CHUNK_BYTES: Final = 1 << 20


def unpack_stated_files(
    archive: Path,
    files: Sequence[StatedFile],
    folder: Path,
    earlier: Path | None = None,
    *,
    skips_others: bool = False,
) -> None:
    """Unpack a zip into an empty folder; every file is verified and synced.

    A file that the folder `earlier` has with the same bytes is linked instead of written again. With `skips_others`, the
    archive may have more files, which are not unpacked.

    Raises:
        DamagedDownloadError: The archive is broken, has other files than stated, or the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted(each.filename for each in opened.infolist() if not each.is_dir())
            stated = sorted(each.path for each in files)
            if skips_others:
                names = [each for each in names if each in set(stated)]
            if names != stated:
                raise DamagedDownloadError("the archive has other files than the manifest states; nothing is installed")
            for each in files:
                place = _find_place(folder, each.path)
                place.parent.mkdir(parents=True, exist_ok=True)
                if earlier is None or not _link_same(_find_place(earlier, each.path), place, each):
                    _extract(opened, each, place)
    except OSError as error:
        raise DamagedDownloadError(f"the archive cannot be unpacked ({error.strerror}); free some space") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted, or an unknown compression
        raise DamagedDownloadError(
            f"the archive cannot be unpacked ({type(error).__name__}); nothing is installed, let the operator release again"
        ) from error


def _find_place(folder: Path, path: str) -> Path:
    """Return a file's place; raises `DamagedDownloadError` if it is outside the folder."""
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()) or place == folder.resolve():
        raise DamagedDownloadError(f"the archive has a file {path!r} outside its folder; nothing is installed")
    return place


def _link_same(source: Path, place: Path, file: StatedFile) -> bool:
    try:
        if source.stat().st_size != file.size_bytes or hash_file(source) != file.sha256:
            return False
        os.link(source, place)
    except OSError:
        return False
    return True


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _extract(archive: zipfile.ZipFile, file: StatedFile, place: Path) -> None:
    digest, left = hashlib.sha256(), file.size_bytes
    with archive.open(file.path) as source, place.open("xb") as out:
        while chunk := source.read(min(_CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if left != 0 or digest.hexdigest() != file.sha256:
        raise DamagedDownloadError(f"{file.path} in the archive differs from the manifest; nothing is installed")
