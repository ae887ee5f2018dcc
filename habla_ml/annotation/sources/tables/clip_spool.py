"""The audio of clips between the pass that finds their sounds and the pass that publishes them, on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final, Self

from habla_ml.errors import LakeError
from habla_ml.recordings.segments import RecordedSegment

_MAX_BYTES: Final = 4 << 30


@dataclass
class ClipSpool:
    """Segments that were decoded once, by row number. The file has no name and disappears with the process."""

    file: IO[bytes]
    work_folder: Path
    _places: dict[int, tuple[RecordedSegment, int, int]] = field(default_factory=dict)
    """Row → its segment without audio, and where the audio starts and ends."""

    @classmethod
    def open(cls, work_folder: Path) -> Self:
        """Open a spool below the work folder; raises `LakeError` if it cannot be created."""
        with _report_full_disk(work_folder):
            work_folder.mkdir(parents=True, exist_ok=True)
            return cls(tempfile.TemporaryFile(dir=work_folder), work_folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk is reported where it is written
            self.file.close()

    def add(self, segment: RecordedSegment) -> None:
        """Keep a segment by its row number, unless the spool is full; raises `LakeError` if it cannot be written."""
        with _report_full_disk(self.work_folder):
            start = self.file.seek(0, 2)
            if start + len(segment.audio) > _MAX_BYTES:
                return
            self.file.write(segment.audio)
            self._places[segment.number] = (replace(segment, audio=b""), start, start + len(segment.audio))

    def get(self, number: int) -> RecordedSegment | None:
        """Return the segment of a row, or None if it was not kept."""
        if number not in self._places:
            return None
        segment, start, end = self._places[number]
        with _report_full_disk(self.work_folder):
            self.file.seek(start)
            return replace(segment, audio=self.file.read(end - start))


@contextmanager
def _report_full_disk(work_folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = f"audio of a table cannot be kept below {work_folder}: {error.strerror or error}"
        raise LakeError(f"{fault}; free some space or name another work_folder, then run again") from error
