"""What people corrected since a release and the released model never saw: its ears are tested on nothing else."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.review_queue import load_chosen_segment_ids
from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.lake import Lake, catalogue
from habla_ml.monitoring.weeks import week_of_day, week_of_moment

_CORRECTION_COLUMNS: Final = ("segment_id", "session_id", "day", "sentence", "audio_sha256", "annotated_at")


@dataclass(frozen=True)
class FreshCorrection:
    """A segment with what a person made of it."""

    segment_id: str
    session_id: str
    day: str
    """Of the recording."""
    sentence: str
    """Under the conventions of its day's text."""
    audio_sha256: str
    conventions: str
    """Their digest."""
    is_uncertain: bool
    """Some review queue chose it because it seemed difficult."""


@dataclass(frozen=True)
class SnapshotContents:
    """What a version was made from."""

    segments: pa.Array
    """Ids of the segments of its snapshot: train, validation and the test set that let it be released."""
    audio_hashes: pa.Array
    train_speakers: frozenset[str]
    """Speakers of its train, as the snapshot names them."""
    vocabulary: frozenset[str]
    """Normalised words of its train."""
    held_out: tuple[tuple[str, str, str], ...]
    """Week of recording, session and sentence of each held-out segment: where unknown words had their level."""


def read_snapshot_contents(lake: Lake, snapshot: Snapshot) -> SnapshotContents:
    """What the snapshot's version knows; reads the snapshot's table."""
    columns = ["segment_id", "audio_sha256", "split", "speaker", "sentence", "session_id", "day"]
    table = pq.read_table(io.BytesIO(lake.get_bytes(snapshot.segments)), columns=columns)
    is_train = pc.equal(table["split"], "train")
    train, held_out = table.filter(is_train), table.filter(pc.invert(is_train))
    sentences = pc.unique(train["sentence"]).to_pylist()
    return SnapshotContents(
        segments=table["segment_id"].combine_chunks(),
        audio_hashes=pc.unique(table["audio_sha256"]),
        train_speakers=frozenset(pc.unique(train["speaker"]).to_pylist()),
        vocabulary=frozenset(word for each in sentences for word in normalise_spanish(each).split()),
        held_out=tuple(
            (week_of_day(row["day"]), row["session_id"], row["sentence"])
            for row in held_out.select(["day", "session_id", "sentence"]).to_pylist()
        ),
    )


def load_fresh_corrections(
    lake: Lake, trained: SnapshotContents, since: datetime, zone: ZoneInfo
) -> dict[str, tuple[FreshCorrection, ...]]:
    """Week → what people corrected or confirmed in it, in the order of segment ids; weeks in order.

    Left out are segments and sounds of the version's snapshot, and texts that are no usable references.

    Args:
        lake: Where the corpus is.
        trained: What the released version was made from.
        since: The release; what was said of a segment before it is not fresh.
        zone: Whose weeks they are.
    """
    chosen = load_chosen_segment_ids(lake)
    found: dict[str, list[FreshCorrection]] = defaultdict(list)
    for key in catalogue.CORPUS.keys(lake):
        day = load_corpus_day(lake, key)
        if day is None or not day.counts["usable"]:
            continue
        for row in _read_fresh_rows(lake, day.parquet, trained, since):
            week = week_of_moment(row.pop("annotated_at"), zone)
            found[week].append(
                FreshCorrection(
                    **row, conventions=day.conventions_digest, is_uncertain=row["segment_id"] in chosen
                )
            )
    ordered = {week: sorted(found[week], key=lambda each: each.segment_id) for week in sorted(found)}
    return {week: tuple(each) for week, each in ordered.items()}


def count_unknown_words(lines: Mapping[str, list[str]], vocabulary: frozenset[str]) -> list[tuple[float, float]]:
    """Words, and those outside `vocabulary`, of each session's sentences."""
    counted = []
    for sentences in lines.values():
        words = [word for each in sentences for word in normalise_spanish(each).split()]
        counted.append((float(len(words)), float(sum(word not in vocabulary for word in words))))
    return counted


def _read_fresh_rows(lake: Lake, parquet: str, trained: SnapshotContents, since: datetime) -> list[dict[str, Any]]:
    table = pq.read_table(io.BytesIO(lake.get_bytes(parquet)), columns=[*_CORRECTION_COLUMNS, "problem"])
    table = table.filter(
        pc.and_(pc.is_null(table["problem"]), pc.greater_equal(table["annotated_at"], pa.scalar(since)))
    )
    known = pc.or_(
        pc.is_in(table["segment_id"], trained.segments), pc.is_in(table["audio_sha256"], trained.audio_hashes)
    )
    rows: list[dict[str, Any]] = table.filter(pc.invert(known)).select(list(_CORRECTION_COLUMNS)).to_pylist()
    return rows
