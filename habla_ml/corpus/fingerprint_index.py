"""Search for near-duplicate audio by its fingerprints.

The index holds the fingerprints of one side, at most `BLOCK_WORDS` words, and the other side is streamed through it. So
memory is bounded whatever the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_WORDS: Final = 2_000_000
"""Words of an index: 18 hours of audio, about 22,000 clips of 3 s."""
MIN_WORDS: Final = 8
"""Shorter overlaps are not compared: a clip needs 0.51 s."""
MAX_BIT_ERRORS: Final = 0.2
"""Unrelated audio differs in half of the bits (`benchmarks/bench_fingerprint.py`)."""

_MIN_VOTES: Final = 3
_MAX_HITS: Final = 1000
"""Three bytes that occur more often than this in the index identify nothing."""
_QUERY_WORDS: Final = 20_000
_SHIFT_BITS, _OWNER_BITS = 20, 24
_ZERO_SHIFT: Final = 1 << (_SHIFT_BITS - 1)


@dataclass(frozen=True)
class NearDuplicate:
    """Two sounds with nearly the same audio, one of each side."""

    indexed: str
    """Name of the sound in the index."""
    found: str
    """Name of the streamed sound."""
    bit_errors: float
    """Share of differing bits in the overlap, 0…0.5."""


@dataclass(frozen=True)
class FingerprintSet:
    """Fingerprints of several sounds."""

    names: tuple[str, ...]
    words: NDArray[np.uint32]
    """All fingerprints in sequence."""
    starts: NDArray[np.int64]
    """First word of each fingerprint and the end of the last one, shape [n_names + 1]."""

    @classmethod
    def of(cls, fingerprints: Iterable[tuple[str, NDArray[np.uint32]]]) -> FingerprintSet:
        """Return the set of these names and fingerprints."""
        listed = list(fingerprints)
        starts = np.cumsum([0, *(len(words) for _, words in listed)], dtype=np.int64)
        words = np.concatenate([np.zeros(0, np.uint32), *(words for _, words in listed)])
        return cls(tuple(name for name, _ in listed), words, starts)

    def __len__(self) -> int:
        return len(self.names)

    def get(self, at: int) -> NDArray[np.uint32]:
        """Return the fingerprint of one sound."""
        return self.words[self.starts[at] : self.starts[at + 1]]

    def split(self, max_words: int) -> Iterator[FingerprintSet]:
        """Yield parts of at most `max_words` words, or of one sound."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.starts, self.starts[first] + max_words, "right")) - 1
            last = max(last, first + 1)
            start, end = self.starts[first], self.starts[last]
            yield FingerprintSet(
                self.names[first:last], self.words[start:end], self.starts[first : last + 1] - self.starts[first]
            )
            first = last


def find_near_duplicates(
    indexed: Iterable[FingerprintSet], streamed: Iterable[FingerprintSet]
) -> Iterator[NearDuplicate]:
    """Yield the pairs that differ in at most `MAX_BIT_ERRORS`; `streamed` is iterated once for each block of the index."""
    for block in _merge_blocks(indexed):
        index = FingerprintIndex(block)
        for each in streamed:
            yield from (pair for pair in index.compare(each) if pair.bit_errors <= MAX_BIT_ERRORS)


def _merge_blocks(sets: Iterable[FingerprintSet]) -> Iterator[FingerprintSet]:
    """Yield the fingerprints in blocks of at most `BLOCK_WORDS` words."""
    waiting: list[FingerprintSet] = []
    for each in sets:
        for part in each.split(BLOCK_WORDS):
            if not len(part.words):
                continue
            if waiting and sum(len(other.words) for other in waiting) + len(part.words) > BLOCK_WORDS:
                yield _concatenate(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _concatenate(waiting)


def _concatenate(sets: Sequence[FingerprintSet]) -> FingerprintSet:
    lengths = np.concatenate([np.diff(each.starts) for each in sets])
    return FingerprintSet(
        tuple(name for each in sets for name in each.names),
        np.concatenate([each.words for each in sets]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


class FingerprintIndex:
    """Index of every three of the four bytes of each word, because a codec rarely preserves all 32 bits."""

    def __init__(self, indexed: FingerprintSet) -> None:
        """Index at most 2²⁴ fingerprints; takes 9 times their size."""
        self._indexed = indexed
        keys, positions = _compute_keys(indexed.words)
        self._entries = keys << np.uint64(32) | positions
        """Key and position of a word, sorted."""
        self._entries.sort()
        self._owners = np.repeat(np.arange(len(indexed), dtype=np.int32), np.diff(indexed.starts))

    def compare(self, streamed: FingerprintSet) -> Iterator[NearDuplicate]:
        """Yield every pair that agrees in at least three bytes of several words at one shift and overlaps enough."""
        for part in streamed.split(_QUERY_WORDS):
            for query, owner, shift in self._find_candidates(part):
                errors = _measure_bit_errors(self._indexed.get(owner), part.get(query), shift)
                if errors is not None:
                    yield NearDuplicate(self._indexed.names[owner], part.names[query], round(errors, 3))

    def _find_candidates(self, queries: FingerprintSet) -> list[tuple[int, int, int]]:
        """Return (query, owner, shift in words) of each pair with enough agreeing keys, at its best shift."""
        keys, positions = _compute_keys(queries.words)
        order = np.argsort(keys)
        keys, positions = keys[order], positions[order].astype(np.int64)
        first = np.searchsorted(self._entries, keys << np.uint64(32), "left")
        last = np.searchsorted(self._entries, (keys + np.uint64(1)) << np.uint64(32), "left")
        counts = np.where(last - first < _MAX_HITS, last - first, 0)
        hits = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        found = (self._entries[hits] & np.uint64(0xFFFF_FFFF)).astype(np.int64)
        owners = self._owners[found].astype(np.int64)
        query = np.repeat(np.arange(len(queries)), np.diff(queries.starts))[positions]
        offsets = np.repeat(positions - queries.starts[query], counts)
        shifts = found - self._indexed.starts[owners] - offsets + _ZERO_SHIFT
        codes = (np.repeat(query, counts) << _OWNER_BITS | owners) << _SHIFT_BITS | shifts
        return _count_votes(codes)


def _count_votes(codes: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return (query, owner, shift) of the codes that occur often enough; of a pair's shifts the most frequent one."""
    codes = np.sort(codes)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else np.zeros(0, np.int64)
    votes = np.diff(np.append(starts, len(codes)))
    enough = votes >= _MIN_VOTES
    codes, votes = codes[starts[enough]], votes[enough]
    pairs = codes >> _SHIFT_BITS
    order = np.lexsort((-votes, pairs))
    codes, pairs = codes[order], pairs[order]
    is_best = np.concatenate([[True], pairs[1:] != pairs[:-1]]) if len(pairs) else np.zeros(0, bool)
    best = codes[is_best]
    query, owner = best >> (_SHIFT_BITS + _OWNER_BITS), best >> _SHIFT_BITS & ((1 << _OWNER_BITS) - 1)
    shift = (best & ((1 << _SHIFT_BITS) - 1)) - _ZERO_SHIFT
    return list(zip(query.tolist(), owner.tolist(), shift.tolist(), strict=True))


def _compute_keys(words: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return four keys of each word that is not silence (one byte replaced by its number each), and their positions."""
    positions = np.flatnonzero(words).astype(np.uint64)
    kept = words[positions].astype(np.uint64)
    keys = [
        (kept & np.uint64(0xFFFF_FFFF ^ 0xFF << 8 * left_out)) | np.uint64(left_out << 8 * left_out)
        for left_out in range(4)
    ]
    return np.concatenate(keys), np.tile(positions, 4)


def _measure_bit_errors(indexed: NDArray[np.uint32], streamed: NDArray[np.uint32], shift: int) -> float | None:
    """Return the share of differing bits with `streamed` shifted by `shift` words in `indexed`; None with little overlap.

    Words of digital silence on both sides agree in all sounds, so they do not count.
    """
    one, two = indexed[max(0, shift) :], streamed[max(0, -shift) :]
    length = min(len(one), len(two))
    one, two = one[:length], two[:length]
    n_words = int(np.count_nonzero(one | two))
    shorter = min(int(np.count_nonzero(indexed)), int(np.count_nonzero(streamed)))
    if n_words < max(MIN_WORDS, shorter // 2):
        return None
    return float(np.bitwise_count(one ^ two).sum()) / (32 * n_words)
