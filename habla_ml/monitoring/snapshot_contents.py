"""What monitoring needs to know of the snapshot that a version was trained on; its table is read in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches
from habla_ml.monitoring.weeks import week_of_day
from habla_ml.names import canonical_name

UnknownWords = tuple[int, int]
"""Number of words, and of those outside a vocabulary."""


@dataclass(frozen=True)
class SnapshotContents:
    """The snapshot that a version was made from."""

    segments: str
    """Object id of the table of its segments, in every split."""
    train_speakers: frozenset[str]
    """Canonical names of the speakers of the train split."""
    vocabulary: frozenset[str]
    """Normalised words of the train split."""
    held_out: Mapping[str, Mapping[str, UnknownWords]]
    """Week of recording → session → words of its held-out segments: the reference of unknown words."""


def read_snapshot_contents(lake: Lake, snapshot: Snapshot) -> SnapshotContents:
    """Read the contents of a snapshot from its table; memory follows its words and its held-out sessions."""
    names, vocabulary = set[str](), set[str]()
    for batch in iterate_batches(lake, snapshot.segments, ["split", "speaker", "sentence"]):
        train = batch.filter(pc.equal(batch["split"], "train"))
        names.update(pc.unique(train["speaker"]).to_pylist())
        for sentence in pc.unique(train["sentence"]).to_pylist():
            vocabulary.update(normalise_spanish(sentence).split())
    return SnapshotContents(
        segments=snapshot.segments,
        train_speakers=frozenset(map(canonical_name, names)),
        vocabulary=frozenset(vocabulary),
        held_out=_count_held_out(lake, snapshot, vocabulary),
    )


def count_unknown_words(sentences: Iterable[str], vocabulary: Collection[str]) -> UnknownWords:
    """Return the number of words, and of those outside `vocabulary`."""
    words = [word for each in sentences for word in normalise_spanish(each).split()]
    return len(words), sum(word not in vocabulary for word in words)


def _count_held_out(lake: Lake, snapshot: Snapshot, vocabulary: Collection[str]) -> dict[str, dict[str, UnknownWords]]:
    found: dict[str, dict[str, UnknownWords]] = defaultdict(dict)
    for batch in iterate_batches(lake, snapshot.segments, ["split", "day", "session_id", "sentence"]):
        held_out: pa.RecordBatch = batch.filter(pc.not_equal(batch["split"], "train"))
        for row in held_out.to_pylist():
            of_week = found[week_of_day(row["day"])]
            words, unknown = of_week.get(row["session_id"], (0, 0))
            more, more_unknown = count_unknown_words([row["sentence"]], vocabulary)
            of_week[row["session_id"]] = words + more, unknown + more_unknown
    return dict(found)
