"""The clips that the rows of a table name: where each one is, and the segment that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.annotation.sources.tables.clip_paths import ClipFinder
from habla_ml.annotation.sources.tables.rows import TableRow, find_table_file, table_name
from habla_ml.audio import AudioDecoder
from habla_ml.errors import InputError
from habla_ml.names import escape_name
from habla_ml.recordings.day_reader import SegmentOrigin, read_segment
from habla_ml.recordings.metadata import SegmentHint
from habla_ml.recordings.segments import RecordedSegment, segment_id
from habla_ml.recordings.sessions import Skipped, parse_session_start
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.day_reader import DecodeAudio

TABLE: Final = "table"
"""Source of a clip that a table brought."""


@dataclass(frozen=True)
class TableClip:
    """A row with its audio."""

    row: TableRow
    segment: RecordedSegment


@dataclass(frozen=True)
class LocatedClip:
    """A row with the file that it names, not yet read."""

    row: TableRow
    file: Path
    file_name: str
    """Relative to the table's folder, with `/`."""
    session_id: str
    day: str

    def get_segment_id(self, audio_sha256: str) -> str:
        """Return the identity of the clip: derived from its audio, so the same wherever the table is."""
        return segment_id(TABLE, self.session_id, audio_sha256)

    def read(self, max_duration_s: float, decode: DecodeAudio) -> RecordedSegment:
        """Read and decode the file; raise `InputError` with the reason if it cannot be used or is longer."""
        origin = SegmentOrigin(TABLE, self.session_id, self.day, self.row.number)
        read = read_segment(self.file, origin, SegmentHint(speaker=self.row.speaker), max_duration_s, decode)
        return replace(read, segment_id=self.get_segment_id(read.audio_sha256), file_name=self.file_name)


class ClipLocator:
    """Finds the clips of one table.

    A clip's session is its folder where that has the name of a Habla session, else the table's name with the row's
    speaker, so that one speaker stays in one split. `day` is the day of clips whose folder names no session.
    """

    def __init__(self, path: Path, day: str) -> None:
        self._name, self._day, self._finder = table_name(path), day, ClipFinder(path.resolve().parent)

    def locate(self, row: TableRow) -> LocatedClip:
        """Return where the row's clip is; raise `InputError` if there is no such file below the table's folder."""
        file = self._finder.find(row.audio)
        started = parse_session_start(file.parent.name)
        session = file.parent.name if started else f"{self._name}-{row.speaker}" if row.speaker else self._name
        day = started.strftime("%Y-%m-%d") if started else self._day
        return LocatedClip(row, file, escape_name(file.relative_to(self._finder.root).as_posix()), session, day)


def find_change_time(file: Path, settings: Settings, now: datetime) -> datetime:
    """Return when the table was last changed, in the zone of the settings; a time in the future is now."""
    return min(datetime.fromtimestamp(file.stat().st_mtime, settings.zone), now.astimezone(settings.zone))


def find_default_day(path: Path, settings: Settings, now: datetime) -> str:
    """Return the day of clips whose folder names no session: of the table's last change, but not before the first day.

    Raises `InputError` if the path is no table.
    """
    changed_at = find_change_time(find_table_file(path), settings, now)
    return max(changed_at.strftime("%Y-%m-%d"), settings.recordings.first_day)


def read_table_clips(path: Path, rows: list[TableRow], max_duration_s: float) -> Iterator[TableClip | Skipped]:
    """Yield each row's audio, or why it cannot be used: it is missing, no audio, or longer than `max_duration_s`.

    Memory holds one clip. Clips whose folder names no session have no day.
    """
    locator = ClipLocator(path, "")
    with AudioDecoder() as decoder:
        for row in rows:
            try:
                yield TableClip(row, locator.locate(row).read(max_duration_s, decoder.decode))
            except InputError as error:
                yield Skipped(table_name(path), row.label, str(error))
