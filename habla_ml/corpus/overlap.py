"""Sentences that train and the held-out splits share.

A frequent sentence ("Sí.") is no leak, but a test set of such sentences measures little.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.lake.table import read_table


@dataclass(frozen=True)
class SharedSentence:
    """A sentence that train and a held-out split share, ignoring case and punctuation."""

    held_out: str
    """Id of one held-out segment with this sentence."""
    train: int
    validation: int
    test: int
    sealed: int = 0


def find_shared_sentences(lake: Lake, snapshot: Snapshot) -> tuple[SharedSentence, ...]:
    """Return the sentences of train that a held-out split repeats, most frequently held out first."""
    table = read_table(lake, snapshot.segments, ["segment_id", "sentence", "split"])
    by_text = table.append_column("plain", to_plain_text(table["sentence"])).group_by(["plain", "split"])
    counted = by_text.aggregate([([], "count_all"), ("segment_id", "min")])
    held_out = counted.filter(pc.not_equal(counted["split"], "train"))["plain"].combine_chunks()
    found: dict[str, dict[str, int]] = {}
    examples: dict[str, str] = {}
    for row in counted.filter(pc.is_in(counted["plain"], held_out)).to_pylist():
        found.setdefault(row["plain"], {})[row["split"]] = row["count_all"]
        if row["split"] != "train":
            examples[row["plain"]] = row["segment_id_min"]
    shared = [
        SharedSentence(examples[plain], *(counts.get(split, 0) for split in ("train", "validation", "test", "sealed")))
        for plain, counts in found.items()
        if "train" in counts
    ]
    return tuple(sorted(shared, key=lambda each: (-each.validation - each.test - each.sealed, each.held_out)))


def to_plain_text(sentences: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the sentences in lower case without punctuation and symbols."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(sentences), r"[\pP\pS\s]+", " "))
