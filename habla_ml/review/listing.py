"""The review queue as a person finds it: the session's folder, the file, what is written, and why it was chosen."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.delimited.spreadsheet import SEPARATOR, write_cell
from habla_ml.lake import Lake
from habla_ml.lake.shards import find_rows
from habla_ml.recordings.days import load_day


@dataclass(frozen=True)
class ListedSegment:
    """One segment of the queue."""

    session: str
    file: str
    day: str
    seconds: float
    speaker: str
    text: str
    """What the person sees; empty for a blind segment."""
    people: int
    """Who transcribe it without a text; 0 where the text is shown."""
    why: tuple[str, ...]
    segment_id: str
    path: str
    """The recording in Habla's folder; empty where it is not there, as for uploads and deleted sessions."""


def list_segments(
    lake: Lake, items: Sequence[ReviewItem], recordings: Path, describe: Callable[[str], str]
) -> list[ListedSegment]:
    """Return the segments of a queue, in its order.

    Args:
        lake: The recordings' metadata has the names of the files.
        items: Of the queue.
        recordings: Habla's folder.
        describe: Returns a reason in words.
    """
    files = _find_file_names(lake, items)
    return [
        ListedSegment(
            session=each.session_id,
            file=files.get(each.segment_id, ""),
            day=each.day,
            seconds=round(each.duration_s, 1),
            speaker=each.speaker,
            text=each.hint,
            people=each.blind_people,
            why=tuple(map(describe, each.reasons)),
            segment_id=each.segment_id,
            path=_find_path(recordings, each.session_id, files.get(each.segment_id, "")),
        )
        for each in items
    ]


def format_csv(segments: Sequence[ListedSegment]) -> str:
    """Return a table for a spreadsheet, with a header and a row for each segment."""
    out = io.StringIO()
    columns = list(ListedSegment.__dataclass_fields__)
    writer = csv.DictWriter(out, columns, lineterminator="\n", delimiter=SEPARATOR)
    writer.writeheader()
    rows = ({**asdict(each), "why": "; ".join(each.why)} for each in segments)
    writer.writerows(
        {name: write_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows
    )
    return out.getvalue()


def format_playlist(segments: Sequence[ListedSegment]) -> str:
    """Return an extended M3U of the recordings that are in Habla's folder, for any audio player."""
    lines = ["#EXTM3U"]
    for each in segments:
        if each.path:
            title = " ".join(f"{each.session} {each.file} {each.text}".split())
            lines += [f"#EXTINF:{round(each.seconds)},{title}", each.path]
    return "\n".join(lines) + "\n"


def _find_file_names(lake: Lake, items: Sequence[ReviewItem]) -> dict[str, str]:
    """Return segment id → name of its file."""
    found: dict[str, str] = {}
    wanted = {each.segment_id for each in items}
    for day in sorted({each.day for each in items}):
        if (stored := load_day(lake, day)) is None:
            continue
        columns = ["segment_id", "file_name"]
        for rows in find_rows(lake, stored.metadata, "segment_id", wanted.__contains__, columns):
            found |= {row["segment_id"]: row["file_name"] for row in rows.rows.to_pylist()}
    return found


def _find_path(recordings: Path, session: str, file: str) -> str:
    # A name comes from a table or an upload, too, so it must not lead out of the folder.
    path = (recordings / session / file).resolve()
    return str(path) if file and path.is_relative_to(recordings.resolve()) and path.is_file() else ""
