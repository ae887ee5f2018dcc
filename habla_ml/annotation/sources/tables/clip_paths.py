"""Find the audio file that a row of a table names, however the path was written.

Tables come from other machines: Windows writes backslashes, drive letters and capitals, macOS stores accents in two
code points, and an absolute path is that of the machine where the table was made. A path is tried as it is written
first, then in each of these readings. Every reading must stay in the table's folder, since tables are not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import unquote, urlsplit

from habla_ml.errors import InputError
from habla_ml.names import canonical_file_name

_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:|.*\\", re.DOTALL)
_DRIVE_IN_URL: Final = re.compile(r"/[A-Za-z]:")
_MAX_LISTED_NAMES: Final = 200_000
"""In a larger folder, names must be written exactly: 80 MB of memory."""


@dataclass
class ClipFinder:
    """Finds the files that the rows of one table name. Memory holds the names in the folders that rows name."""

    root: Path
    """The table's folder, after links are followed."""
    drives: Path = Path("/mnt")
    """Where WSL mounts the drives of Windows, each under its letter."""
    _names: dict[Path, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def find(self, audio: str) -> Path:
        """Return the file below `root` that a row names.

        Raises `InputError` if it does not exist, cannot be read, is elsewhere, or the name fits several files.
        """
        readings = list(dict.fromkeys(_list_readings(audio, self.root, self.drives)))
        refusal = InputError("names a file that does not exist")
        for each in readings:
            try:
                found = _resolve(self.root, each)
            except InputError as error:  # a copy in the table's folder is used instead of a file elsewhere
                refusal = error
                continue
            if found is not None:
                return found
        for each in readings:
            if not each.is_absolute() and (found := self._find_similar(each)) is not None:
                return found
        raise refusal

    def _find_similar(self, relative: PurePosixPath) -> Path | None:
        """Return the file whose path differs in capitals or in the form of its accents only, or None."""
        folder = self.root
        for part in relative.parts:
            names = self._list_names(folder).get(_canonical_name(part), ())
            if part not in names and len(names) > 1:
                raise InputError(f"names {len(names)} files that differ in capitals or accents only; rename them")
            if not names:
                return None
            folder /= part if part in names else names[0]
        return _resolve(self.root, PurePosixPath(folder))

    def _list_names(self, folder: Path) -> Mapping[str, Sequence[str]]:
        if folder not in self._names:
            try:
                listed = folder.iterdir() if folder.resolve().is_relative_to(self.root) else iter(())
                entries = [each.name for each in islice(listed, _MAX_LISTED_NAMES + 1)]
            except (OSError, RuntimeError, ValueError):
                entries = []
            names: dict[str, list[str]] = {}
            for each in sorted(entries) if len(entries) <= _MAX_LISTED_NAMES else ():
                names.setdefault(_canonical_name(each), []).append(each)
            self._names[folder] = names
        return self._names[folder]


def resolve_inside(root: Path, audio: str) -> Path:
    """Return the file that a path names, exactly as written. It must be below `root` after every link is followed.

    Raises `InputError` if it does not exist, cannot be read, or is elsewhere.
    """
    if (file := _resolve(root, PurePosixPath(audio))) is None:
        raise InputError("names a file that does not exist")
    return file


def split_audio_path(audio: str) -> tuple[str, str]:
    """Return the names of the folder and of the file at the end of a path of Windows or another system."""
    path = _parse(audio)
    return path.parent.name, path.name


def _resolve(root: Path, path: PurePosixPath) -> Path | None:
    try:
        file = (root / path).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"names no readable file: {error.strerror}") from None
    except (RuntimeError, ValueError):
        raise InputError("names no readable file") from None
    if not file.is_relative_to(root):
        raise InputError(f"leaves the folder {root.name}/; copy the clip below it")
    return file


def _list_readings(audio: str, root: Path, drives: Path) -> Iterator[PurePosixPath]:
    """Yield the paths that a cell can mean on this machine, the most literal first."""
    yield PurePosixPath(audio)
    path = _parse(audio)
    parts = path.parts[1:] if path.anchor else path.parts
    if not path.anchor:
        yield PurePosixPath(*parts)
        return
    if len(path.drive) == 2:
        yield PurePosixPath(drives, path.drive[0].lower(), *parts)
    else:
        yield PurePosixPath("/", *parts)
    if ".." not in parts:
        # The folder was copied here: folder and file are the end of a path of another machine.
        yield from (PurePosixPath(*parts[start:]) for start in range(len(parts) - 1))
        if len(parts) > 1 and _canonical_name(parts[-2]) == _canonical_name(root.name):
            yield PurePosixPath(parts[-1])


def _parse(audio: str) -> PurePath:
    text = audio.strip()
    if text[:5].lower() == "file:":
        text = unquote(urlsplit(text).path)
        text = text[1:] if _DRIVE_IN_URL.match(text) else text
    return PureWindowsPath(text) if _WINDOWS_PATH.match(text) else PurePosixPath(text)


def _canonical_name(name: str) -> str:
    return canonical_file_name(canonical_file_name(name).casefold())
