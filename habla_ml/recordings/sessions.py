"""List the sessions in Habla's recordings folder and their state.

Scanning opens no file, so a sensor tick without changes costs one walk. A session belongs to the day on which it
started, in Habla's own time zone, even if it runs past midnight.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final, Literal
from zoneinfo import ZoneInfo

from habla_ml.errors import InputError, InputUnavailableError
from habla_ml.names import escape_name
from habla_ml.settings import Settings

SessionState = Literal["finished", "live", "crashed", "empty"]

METADATA_FILE: Final = "metadata.json"
GROUND_TRUTH_FILE: Final = "ground_truth.json"
CORRECTIONS_FILE: Final = "corrected_ground_truth.json"
RAW_STREAM_FILE: Final = "raw_stream.webm"

_JSON_FILES: Final = frozenset({METADATA_FILE, GROUND_TRUTH_FILE, CORRECTIONS_FILE})

NOT_A_SESSION: Final = "is not named <session>_<YYYYMMDD_HHMMSS>"

# Larger disorder in the times of a session means that clocks were set back.
_MAX_CLOCK_DISORDER: Final = timedelta(minutes=5)
_TIMESTAMP_CHARS: Final = len("_YYYYMMDD_HHMMSS")
_MAX_KNOWN_NAMES: Final = 32_768
_SESSION_NAME_PATTERN = re.compile(r".+_\d{8}_\d{6}", re.ASCII | re.DOTALL)
_SEGMENT_FILE_PATTERN = re.compile(r"segment_(?P<number>\d{1,9})\.wav", re.ASCII | re.IGNORECASE)
# Part of every fingerprint: raise it when the same files give different rows.
_READER_VERSION = "habla_ml.recordings/2"


@dataclass(frozen=True)
class SessionFile:
    """One entry of a session's folder, from `lstat`."""

    name: str
    size_bytes: int
    modified_ns: int

    @property
    def number(self) -> int | None:
        """The segment's number, or None for any other file."""
        return parse_segment_number(self.name)

    @property
    def segment_name(self) -> str:
        """The name that identifies the segment."""
        return canonical_segment_name(self.name)


@dataclass(frozen=True)
class SessionFolder:
    """One recording session of Habla."""

    name: str
    """The folder's name, which is the session's id in this project."""
    started_local: datetime
    """Naive, in Habla's time zone."""
    path: Path
    state: SessionState
    """`finished`: with metadata.json. `live`: without it, and recently written. `crashed`: without it, and not recently
    written. `empty`: over, without a segment."""
    files: tuple[SessionFile, ...]

    @property
    def day(self) -> str:
        """The day on which the session started, `YYYY-MM-DD`."""
        return self.started_local.strftime("%Y-%m-%d")

    @property
    def segments(self) -> list[SessionFile]:
        """The segment files, sorted by number. Of names that differ in capitals only, the one in lower case."""
        found: dict[str, SessionFile] = {}
        for each in sorted(self.files, key=lambda file: (file.name != file.segment_name, file.name)):
            if each.number is not None:
                found.setdefault(each.segment_name, each)
        return sorted(found.values(), key=lambda file: (file.number, file.segment_name))

    def list_unread_files(self) -> list[tuple[str, str]]:
        """Return the files that are not read because of their names, each with the reason."""
        segments, found = {each.name for each in self.segments}, []
        for name in (each.name for each in self.files):
            if name.lower() in _JSON_FILES and name != name.lower():
                found.append((name, f"has capitals in its name and is not read; rename it to {name.lower()}"))
            elif name.lower().endswith(".wav") and parse_segment_number(name) is None:
                found.append((name, "is not named segment_<number>.wav"))
            elif name.lower().endswith(".wav") and name not in segments:
                found.append((name, "differs from another segment in capitals only and is not read; remove one"))
        return found

    def has_file(self, name: str) -> bool:
        """Return whether the folder had a file of this name when it was scanned."""
        return any(each.name == name for each in self.files)


@dataclass(frozen=True)
class Skipped:
    """An input that was skipped or only partly read."""

    session: str
    file: str
    """Empty for the whole session."""
    reason: str


@dataclass(frozen=True)
class FolderScan:
    """The result of a walk over the recordings folder."""

    sessions: tuple[SessionFolder, ...]
    """Sorted by start, then name."""
    ignored: tuple[Skipped, ...]
    """Entries that are not sessions or cannot be listed."""


def fingerprint_files(name: str, state: SessionState, files: Iterable[SessionFile]) -> str:
    """Return a digest of the names, sizes and times of some files of a session."""
    ordered = sorted(files, key=lambda file: file.name)
    lines = [f"{each.name}\t{each.size_bytes}\t{each.modified_ns}" for each in ordered]
    return hashlib.sha256("\n".join([_READER_VERSION, name, state, *lines]).encode()).hexdigest()[:32]


@lru_cache(maxsize=4096)  # asked several times for each file, and all sessions have the same names
def parse_segment_number(file_name: str) -> int | None:
    """Return the number in `segment_001.wav`, in any capitals, or None for other names."""
    match = _SEGMENT_FILE_PATTERN.fullmatch(file_name)
    return int(match["number"]) if match else None


def canonical_segment_name(file_name: str) -> str:
    """Return the name that identifies a segment: in lower case, as Habla writes it. Other names are unchanged.

    A copy through a FAT stick or another program can have capitals, and is the same segment.
    """
    return file_name if parse_segment_number(file_name) is None else file_name.lower()


def parse_session_start(folder_name: str) -> datetime | None:
    """Return the naive local time in `<session>_<YYYYMMDD_HHMMSS>`, or None for other names."""
    # Called for every folder at every tick; `strptime` alone would cost as much as the walk.
    if _SESSION_NAME_PATTERN.fullmatch(folder_name) is None or not folder_name.isprintable():
        return None
    try:
        return datetime.fromisoformat(folder_name[1 - _TIMESTAMP_CHARS :])  # naive: Habla's local time
    except ValueError:
        return None


@lru_cache(maxsize=_MAX_KNOWN_NAMES)  # every tick asks for the same names
def parse_session_day(folder_name: str) -> str | None:
    """Return the day in a session's name as `YYYY-MM-DD`, or None for other names."""
    if parse_session_start(folder_name) is None:
        return None
    stamp = folder_name[1 - _TIMESTAMP_CHARS :]
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def to_utc(moment: datetime, zone: ZoneInfo, after: datetime | None = None) -> datetime:
    """Convert a naive local time to UTC; an aware one keeps its own offset.

    In the hour that exists twice, returns the first time (`fold=0`), unless it is clearly before `after`, the time of
    an earlier event. In the hour that is skipped in spring, uses the offset before the change, which shifts the time
    one hour forward.
    """
    if moment.tzinfo:
        return moment.astimezone(UTC)
    first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if after is not None and first < after - _MAX_CLOCK_DISORDER and second > first else first


def scan_sessions(folder: Path, settings: Settings, now: datetime, day: str | None = None) -> FolderScan:
    """Walk Habla's folder (or only `day`) without opening a file; raise `InputError` if it cannot be listed."""
    sessions: list[SessionFolder] = []
    ignored: list[Skipped] = []
    for entry in list_folder(folder, day):
        started = parse_session_start(entry.name)
        if started is None:
            if not entry.name.startswith(".") and day is None:
                ignored.append(Skipped(escape_name(entry.name), "", NOT_A_SESSION))
        elif day is None or started.strftime("%Y-%m-%d") == day:
            try:
                session = list_session(entry, settings, now)
            except InputError as error:
                ignored.append(Skipped(entry.name, "", str(error)))
                continue
            if session is not None:
                sessions.append(session)
    sessions.sort(key=lambda session: (session.started_local, session.name))
    return FolderScan(tuple(sessions), tuple(ignored))


def list_folder(folder: Path, day: str | None = None) -> list[os.DirEntry[str]]:
    """Return the entries of the recordings folder sorted by name, or only those with the name of a session of `day`.

    Raises `InputError` if the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            stamp = "" if day is None else day.replace("-", "")
            chosen = (each for each in entries if not stamp or each.name[1 - _TIMESTAMP_CHARS : -7] == stamp)
            return sorted(chosen, key=lambda entry: entry.name)
    except OSError as error:
        raise InputUnavailableError(
            f"recordings folder {folder} cannot be listed ({error.strerror}); "
            "fix its permissions or set recordings.folder to another folder"
        ) from error


def list_session_days(folder: Path) -> dict[str, list[os.DirEntry[str]]]:
    """Return day → the entries of the recordings folder with the name of a session of that day, sorted by name.

    Raises `InputError` if the folder cannot be listed.
    """
    days: dict[str, list[os.DirEntry[str]]] = defaultdict(list)
    for entry in list_folder(folder):
        if (day := parse_session_day(entry.name)) is not None:
            days[day].append(entry)
    return days


def list_session(entry: os.DirEntry[str], settings: Settings, now: datetime) -> SessionFolder | None:
    """Return one session's folder with all its files; None if Habla has deleted it in the meantime.

    Raises `InputError` if it does not have the name of a session, is not a folder, or cannot be listed.
    """
    started = parse_session_start(entry.name)
    if started is None:
        raise InputError(NOT_A_SESSION)
    require_folder(entry)
    try:
        files = tuple(_list_files(entry.path, settings.recordings.keep_raw_stream))
        newest_ns = max((each.modified_ns for each in files), default=entry.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be listed: {error.strerror}") from error
    age_h = (now.timestamp() - newest_ns / 1e9) / 3600
    has_metadata = any(each.name == METADATA_FILE for each in files)
    state: SessionState = "finished" if has_metadata else "crashed"
    # A time far in the future is from a clock that was set back later; that session is not live.
    if not has_metadata and abs(age_h) < settings.recordings.crashed_after_hours:
        state = "live"
    elif not any(each.number is not None for each in files):
        state = "empty"
    return SessionFolder(name=entry.name, started_local=started, path=Path(entry.path), state=state, files=files)


def require_folder(entry: os.DirEntry[str]) -> None:
    """Raise `InputError` if a session is a link or not a folder."""
    if entry.is_symlink():
        raise InputError("is a symbolic link; only folders inside the recordings folder are read")
    if not entry.is_dir(follow_symlinks=False):
        raise InputError("is not a folder")


def _list_files(path: str, raw_stream: bool) -> Iterator[SessionFile]:
    """Yield the WAV files, known JSON files and, if requested, the raw stream, except files that are just being deleted."""
    named = {RAW_STREAM_FILE} if raw_stream else set()
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if name.lower().endswith(".wav") or name in named or name.lower() in _JSON_FILES:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield SessionFile(escape_name(name), found.st_size, found.st_mtime_ns)


def open_plain_file(path: Path, max_bytes: int) -> BinaryIO:
    """Open a regular file for reading; refuse symbolic links and devices.

    Raises `InputError` if the file cannot be used; the message has the reason in a few words.
    """
    return os.fdopen(_open_plain_descriptor(path, max_bytes)[0], "rb")


def read_plain_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; raises `InputError` like `open_plain_file`."""
    descriptor, size_bytes = _open_plain_descriptor(path, max_bytes)
    try:
        # A plain file has its whole size in one read. `os.read` allocates what it is asked for, so it is not `max_bytes`.
        data = os.read(descriptor, size_bytes)
        while len(data) < size_bytes and (more := os.read(descriptor, size_bytes - len(data))):
            data += more
        return data
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _open_plain_descriptor(path: Path, max_bytes: int) -> tuple[int, int]:
    """Return the descriptor and the size in bytes of a regular file."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise InputError("is a symbolic link; only plain files are read") from None
        raise InputError(f"cannot be read: {error.strerror}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise InputError("is a folder, pipe or device; only plain files are read")
    if found.st_size > max_bytes:
        os.close(descriptor)
        raise InputError(f"has {found.st_size} bytes, more than the {max_bytes} allowed")
    return descriptor, found.st_size
