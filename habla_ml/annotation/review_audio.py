"""The audio of the segments that a review queue hands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.lake import Lake
from habla_ml.recordings.days import load_day

_ROWS_PER_READ: Final = 256


def iterate_audio(lake: Lake, items: Sequence[ReviewItem]) -> Iterator[tuple[str, str, bytes]]:
    """Yield day, segment id and FLAC of each segment that the lake has, day by day. Memory holds one row group."""
    for day in sorted({each.day for each in items}):
        recordings = load_day(lake, day)
        if recordings is None:
            continue
        wanted = pa.array(sorted({each.segment_id for each in items if each.day == day}), pa.string())
        file = pq.ParquetFile(lake.fetch_path(recordings.parquet))
        for rows in file.iter_batches(_ROWS_PER_READ, columns=["segment_id", "audio"]):
            for row in rows.filter(pc.is_in(rows["segment_id"], wanted)).to_pylist():
                yield day, row["segment_id"], row["audio"]


def read_clip_audio(lake: Lake, day: str, segment_id: str) -> bytes | None:
    """Return the FLAC of one segment, or None if the lake does not have it. Reads one row group of audio."""
    recordings = load_day(lake, day)
    if recordings is None:
        return None
    file = pq.ParquetFile(lake.fetch_path(recordings.parquet))
    for group in range(file.num_row_groups):
        at = pc.index(file.read_row_group(group, columns=["segment_id"])["segment_id"], segment_id).as_py()
        if at >= 0:
            audio: bytes = file.read_row_group(group, columns=["audio"])["audio"][at].as_py()
            return audio
    return None
