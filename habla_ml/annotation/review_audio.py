"""The audio of the segments that a review queue hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.lake import Lake
from habla_ml.lake.shards import find_rows
from habla_ml.recordings.days import PublishedDay, load_day


def iterate_audio(lake: Lake, items: Sequence[ReviewItem]) -> Iterator[tuple[str, str, bytes]]:
    """Yield day, segment id and FLAC of each segment that the lake has, day by day. Memory holds one row group."""
    for day in sorted({each.day for each in items}):
        recordings = load_day(lake, day)
        if recordings is None:
            continue
        wanted = {each.segment_id for each in items if each.day == day}
        yield from ((day, *found) for found in _find_audio(lake, recordings, wanted.__contains__))


def read_clip_audio(lake: Lake, day: str, segment_id: str) -> bytes | None:
    """Return the FLAC of one segment, or None if the lake does not have it. Reads one row group of audio."""
    recordings = load_day(lake, day)
    if recordings is None:
        return None
    return next((audio for _, audio in _find_audio(lake, recordings, segment_id.__eq__)), None)


def _find_audio(lake: Lake, recordings: PublishedDay, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for found in find_rows(lake, recordings.parquet, "segment_id", is_wanted, ["segment_id", "audio"]):
        yield from zip(*(found.rows[name].to_pylist() for name in ("segment_id", "audio")), strict=True)
