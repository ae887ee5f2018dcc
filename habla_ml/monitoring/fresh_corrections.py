"""Corrections since a release of segments outside the model's snapshot: its error rate is measured on these only."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import load_chosen_segment_ids
from habla_ml.corpus.build import list_corpus_days
from habla_ml.corpus.copies import find_names_of_copies, keep_newest_of_each_sound, rename_sessions
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.split_ledger import find_sealed_sessions
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.lake import Lake
from habla_ml.lake.table import read_table
from habla_ml.monitoring.weeks import week_of_day, week_of_moment
from habla_ml.names import canonical_name

_CORRECTION_COLUMNS: Final = ("segment_id", "session_id", "day", "sentence", "audio_sha256", "annotated_at")


@dataclass(frozen=True)
class FreshCorrection:
    """A segment with its corrected text."""

    segment_id: str
    session_id: str
    day: str
    """Of the recording."""
    sentence: str
    """Under the conventions of its day's text."""
    audio_sha256: str
    conventions: str
    is_uncertain: bool
    """Whether a review queue chose it as difficult."""


@dataclass(frozen=True)
class SnapshotContents:
    """The snapshot that a version was made from."""

    segments: pa.Array
    """Ids of all its segments, in every split."""
    audio_hashes: pa.Array
    train_speakers: frozenset[str]
    """Canonical names of the speakers of the train split."""
    vocabulary: frozenset[str]
    """Normalised words of the train split."""
    held_out: tuple[tuple[str, str, str], ...]
    """Week of recording, session and sentence of each held-out segment: the reference of unknown words."""


def read_snapshot_contents(lake: Lake, snapshot: Snapshot) -> SnapshotContents:
    """Read the contents of a snapshot from its table."""
    columns = ["segment_id", "audio_sha256", "split", "speaker", "sentence", "session_id", "day"]
    table = read_table(lake, snapshot.segments, columns)
    is_train = pc.field("split") == "train"
    train, held_out = table.filter(is_train), table.filter(~is_train)
    sentences = pc.unique(train["sentence"]).to_pylist()
    return SnapshotContents(
        segments=table["segment_id"].combine_chunks(),
        audio_hashes=pc.unique(table["audio_sha256"]),
        train_speakers=frozenset(map(canonical_name, pc.unique(train["speaker"]).to_pylist())),
        vocabulary=frozenset(word for each in sentences for word in normalise_spanish(each).split()),
        held_out=tuple(
            (week_of_day(row["day"]), row["session_id"], row["sentence"])
            for row in held_out.select(["day", "session_id", "sentence"]).to_pylist()
        ),
    )


def load_fresh_corrections(
    lake: Lake, trained: SnapshotContents, since: datetime, zone: ZoneInfo
) -> dict[str, tuple[FreshCorrection, ...]]:
    """Return the corrected or confirmed segments by week, sorted by week and segment id.

    Segments and audio of the snapshot, sealed sessions, annotations before `since` and texts that are not usable
    references are left out. A sound with several names counts once, with its newest text, and copies of a session have
    one name. `zone` defines days and weeks.
    """
    tables, metadata = [], []
    sealed = pa.array(sorted(find_sealed_sessions(lake)), pa.string())
    for day in list_corpus_days(lake):
        if not day.counts["usable"]:
            continue
        rows = _read_fresh_rows(lake, day.parquet, trained, since)
        rows = rows.filter(pc.invert(pc.is_in(rows["session_id"], sealed)))
        if rows.num_rows:
            tables.append(rows.append_column("conventions", pa.repeat(day.conventions_digest, rows.num_rows)))
            metadata.append(day.metadata)
    if not tables:
        return {}
    rows = pa.concat_tables(tables)
    chosen = pa.array(sorted(load_chosen_segment_ids(lake)), pa.string())
    uncertain_sounds = pc.unique(rows["audio_sha256"].filter(pc.is_in(rows["segment_id"], chosen)))
    rows = rows.append_column("is_uncertain", pc.is_in(rows["audio_sha256"], uncertain_sounds))
    rows = rename_sessions(rows, find_names_of_copies(lake, metadata, pc.unique(rows["session_id"]).to_pylist()))
    found: dict[str, list[FreshCorrection]] = defaultdict(list)
    for row in keep_newest_of_each_sound(rows, ("audio_sha256",)).to_pylist():
        found[week_of_moment(row.pop("annotated_at"), zone)].append(FreshCorrection(**row))
    return {week: tuple(sorted(found[week], key=lambda each: each.segment_id)) for week in sorted(found)}


def _read_fresh_rows(lake: Lake, parquet: str, trained: SnapshotContents, since: datetime) -> pa.Table:
    table = read_table(lake, parquet, [*_CORRECTION_COLUMNS, "problem"])
    in_snapshot = pc.field("segment_id").isin(trained.segments) | pc.field("audio_sha256").isin(trained.audio_hashes)
    fresh = pc.field("problem").is_null() & (pc.field("annotated_at") >= pa.scalar(since)) & ~in_snapshot
    return table.filter(fresh).select(list(_CORRECTION_COLUMNS))
