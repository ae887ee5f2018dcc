"""The identity of a test set: which segments with which sentences, whatever snapshot they are in."""

from __future__ import annotations

from collections.abc import Iterable

from habla_ml.corpus.snapshot import Snapshot, read_sentences
from habla_ml.lake import Lake, compute_digest


def compute_test_set_digest(sentences: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 over the sorted (segment id, sentence); a corrected sentence makes another set."""
    return compute_digest(sorted([segment, sentence] for segment, sentence in sentences))


def read_test_set_digest(lake: Lake, snapshot: Snapshot) -> str:
    """Return the digest of the test split of a snapshot without reading its audio."""
    return compute_test_set_digest(read_sentences(lake, snapshot, "test"))
