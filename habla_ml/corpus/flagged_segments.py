"""Segments that a person should check: how many for each reason, and the newest ones with their audio."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.lake import Lake
from habla_ml.recordings.days import load_day
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER

_OWN_COLUMNS: Final = ("segment_id", "session_id", "file_name", "duration_s", "loudness_dbfs", "reason")


@dataclass(frozen=True)
class FlaggedSegment:
    """One segment that a person should check."""

    segment_id: str
    day: str
    session_id: str
    file_name: str
    speaker: str
    duration_s: float
    loudness_dbfs: float
    text: str
    """As typed; empty without an annotation."""
    reason: str
    flac: bytes | None = field(default=None, repr=False)
    """16 kHz mono; None if the lake lacks it or the page would become too large."""


@dataclass
class FlaggedSegments:
    """Counts by reason, and the newest `most` segments of each reason; days must be added in order."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    newest: dict[str, deque[FlaggedSegment]] = field(default_factory=dict)

    def add(self, rows: pa.Table, reasons: pa.Array, day: str) -> None:
        """Add the rows that have a reason."""
        for row in rows.append_column("reason", reasons).filter(pc.is_valid(reasons)).to_pylist():
            self.counts[row["reason"]] += 1
            own = {name: row[name] for name in _OWN_COLUMNS}
            flagged = FlaggedSegment(
                **own, day=day, speaker=row["speaker"] or UNKNOWN_SPEAKER, text=row.get("text") or ""
            )
            self.newest.setdefault(flagged.reason, deque(maxlen=self.most)).append(flagged)

    def select_newest(self) -> list[FlaggedSegment]:
        """Return at most `most` distinct segments, newest first from all reasons in turn, sorted by reason."""
        in_turn = chain.from_iterable(zip_longest(*(reversed(self.newest[reason]) for reason in sorted(self.newest))))
        by_id: dict[str, FlaggedSegment] = {}
        for each in in_turn:
            if each is not None:
                by_id.setdefault(each.segment_id, each)
        return sorted(list(by_id.values())[: self.most], key=lambda each: each.reason)


def attach_audio(lake: Lake, flagged: Sequence[FlaggedSegment], most_bytes: int) -> tuple[FlaggedSegment, ...]:
    """Return the segments with their FLAC in order, each only if it fits into the rest of `most_bytes`."""
    audio: dict[str, bytes] = {}
    for day in {each.day for each in flagged}:
        audio.update(_read_audio(lake, day, {each.segment_id for each in flagged if each.day == day}))
    shown, left = [], most_bytes
    for each in flagged:
        flac = audio.get(each.segment_id)
        if flac is not None and len(flac) <= left:
            left -= len(flac)
            each = replace(each, flac=flac)
        shown.append(each)
    return tuple(shown)


def _read_audio(lake: Lake, day: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the FLAC of the wanted segments; reads the audio of only the row groups that contain one."""
    recordings = load_day(lake, day)
    if recordings is None:
        return
    file = pq.ParquetFile(lake.fetch_path(recordings.parquet))
    for group in range(file.num_row_groups):
        ids = file.read_row_group(group, columns=["segment_id"])["segment_id"].to_pylist()
        if not wanted.isdisjoint(ids):
            audio = file.read_row_group(group, columns=["audio"])["audio"]
            yield from ((name, audio[index].as_py()) for index, name in enumerate(ids) if name in wanted)
