"""Speaker labels of the segments in Habla's folder, read without opening a recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from habla_ml.recordings.metadata import SegmentHint, read_hints
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.recordings.sessions import parse_segment_number, scan_sessions
from habla_ml.settings import Settings


@dataclass(frozen=True)
class FolderSegment:
    """A segment in Habla's folder; its audio may be deleted already."""

    segment_id: str
    session_id: str
    speaker: str | None


def read_folder_segments(
    folder: Path, settings: Settings, now: datetime, day: str | None = None
) -> Iterator[FolderSegment]:
    """Yield the segments in Habla's folder (or only of `day`) from the sessions' JSON, with the errors of a scan."""
    for session in scan_sessions(folder, settings, now, day).sessions:
        hints = read_hints(session, settings.zone).by_file
        named = {name for name in hints if parse_segment_number(name) is not None}
        for name in sorted({each.name for each in session.segments} | named):
            identity = segment_id(HABLA_SOURCE, session.name, name)
            yield FolderSegment(identity, session.name, hints.get(name, SegmentHint()).speaker)
