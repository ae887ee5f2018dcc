"""Sentences that train and the held-out splits share.

A frequent sentence ("Sí.") is no leak, but a test set of such sentences measures little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.snapshot import Snapshot, Split
from habla_ml.lake import Lake
from habla_ml.lake.database import open_scratch_database
from habla_ml.lake.shards import iterate_batches

_SCHEMA: Final = pa.schema([(name, pa.string()) for name in ("segment_id", "split", "plain_text")])
_LOAD: Final = """
CREATE TABLE sentences AS SELECT md5_number(plain_text) AS sentence, segment_id, split FROM batches
"""
_FIND_SHARED: Final = """
WITH counted AS (
    SELECT sentence, count(*) FILTER (split = 'train') AS train, count(*) FILTER (split = 'validation') AS validation,
        count(*) FILTER (split = 'test') AS test, count(*) FILTER (split = 'sealed') AS sealed
    FROM sentences GROUP BY sentence HAVING train > 0 AND count(*) > train),
examples AS (
    SELECT sentence, min(segment_id) AS held_out
    FROM sentences SEMI JOIN counted USING (sentence) WHERE split <> 'train' GROUP BY sentence)
SELECT held_out, train, validation, test, sealed FROM counted JOIN examples USING (sentence)
ORDER BY validation + test + sealed DESC, held_out LIMIT $most
"""


@dataclass(frozen=True)
class SharedSentence:
    """A sentence that train and a held-out split share, ignoring case and punctuation."""

    held_out: str
    """Id of one held-out segment with this sentence."""
    train: int
    validation: int
    test: int
    sealed: int = 0


def find_shared_sentences(lake: Lake, snapshot: Snapshot, most: int | None = None) -> tuple[SharedSentence, ...]:
    """Return the sentences of train that a held-out split repeats, most frequently held out first; at most `most`."""
    with open_scratch_database(lake.work_folder) as database:
        database.load(_LOAD, _read_plain_text(lake, snapshot), _SCHEMA)
        rows = database.fetch_rows(_FIND_SHARED, {"most": most})
    return tuple(SharedSentence(*row) for row in rows)


def count_seen_sentences(lake: Lake, snapshot: Snapshot) -> dict[Split, int]:
    """Return the number of segments of each split with a sentence of train; 0 for train."""
    counts = Counter[str]()
    for batch in iterate_batches(lake, snapshot.segments, ["split", "is_seen_sentence"]):
        counts.update(batch.filter(pc.fill_null(batch["is_seen_sentence"], False))["split"].to_pylist())
    return {split: counts[split] for split in snapshot.counts}


def _read_plain_text(lake: Lake, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    for batch in iterate_batches(lake, snapshot.segments, ["segment_id", "split", "sentence"]):
        columns = [batch["segment_id"], batch["split"], to_plain_text(batch["sentence"])]
        yield pa.record_batch(columns, schema=_SCHEMA)


def to_plain_text(sentences: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the sentences in lower case without punctuation and symbols."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(sentences), r"[\pP\pS\s]+", " "))
