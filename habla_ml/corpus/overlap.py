"""Overlap of the held-out splits with train: the same sentences, and near-duplicate audio.

A frequent sentence ("Sí.") is no leak, but a test set of such sentences measures little. Two recordings of the same
sound (another microphone, gain or encoding) differ in their sha256. A fingerprint finds them: the signs of the energy
differences between neighbouring bands and frames, after Haitsma and Kalker, "A Highly Robust Audio Fingerprinting
System" (ISMIR 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.corpus.snapshot import Snapshot, read_sealed_utterances, read_utterances
from habla_ml.lake import Lake
from habla_ml.lake.table import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRAME: Final = 4096
_HOP: Final = 512
_BANDS: Final = 33
_MIN_HZ, _MAX_HZ = 200.0, 4000.0
_SAMPLE_RATE_HZ: Final = 16_000
_MIN_VOTES: Final = 3
_MAX_HITS: Final = 1000
"""Three bytes that occur more often than this in the held-out fingerprints identify nothing."""
_MIN_FRAMES: Final = 8
MAX_BIT_ERRORS: Final = 0.2
"""Unrelated audio differs in half of the bits. Of 4,620 copies (codecs from 24 kbit/s, quieter, cut, resampled) all but
two differ less than this. A second utterance of the same sentence by the same speaker differs in at least 0.22
(`benchmarks/bench_fingerprint.py`)."""


@dataclass(frozen=True)
class SharedSentence:
    """A sentence that train and a held-out split share, ignoring case and punctuation."""

    held_out: str
    """Id of one held-out segment with this sentence."""
    train: int
    validation: int
    test: int
    sealed: int = 0


@dataclass(frozen=True)
class NearDuplicate:
    """A held-out segment with nearly the same audio as one of train."""

    held_out: str
    """Id of the held-out segment."""
    train: str
    bit_errors: float
    """Share of differing bits in the overlap, 0…0.5."""


def find_shared_sentences(lake: Lake, snapshot: Snapshot) -> tuple[SharedSentence, ...]:
    """Return the sentences of train that a held-out split repeats, most frequently held out first."""
    import pyarrow.compute as pc

    table = read_table(lake, snapshot.segments, ["segment_id", "sentence", "split"])
    plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(table["sentence"]), r"[\pP\pS\s]+", " "))
    by_text = table.append_column("plain", plain).group_by(["plain", "split"])
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


def find_near_duplicates(lake: Lake, snapshot: Snapshot) -> tuple[NearDuplicate, ...]:
    """Return the held-out segments with nearly the same audio as one of train.

    Memory holds the fingerprints of the held-out splits (2 kB per second of speech); train is streamed.
    """
    held_out = chain(
        read_utterances(lake, snapshot, "test"),
        read_utterances(lake, snapshot, "validation"),
        read_sealed_utterances(lake, snapshot),
    )
    held = [(each.segment_id, fingerprint(each.audio)) for each in held_out]
    train = ((each.segment_id, fingerprint(each.audio)) for each in read_utterances(lake, snapshot, "train"))
    return tuple(each for each in compare_fingerprints(held, train) if each.bit_errors <= MAX_BIT_ERRORS)


def compare_fingerprints(
    held: Sequence[tuple[str, NDArray[np.uint32]]], train: Iterable[tuple[str, NDArray[np.uint32]]]
) -> Iterator[NearDuplicate]:
    """Yield every pair with fingerprints that agree in at least three bytes of several words at one shift."""
    if not held:
        return
    index = _FingerprintIndex.of([bits for _, bits in held])
    for name, bits in train:
        for owner, shift in index.find_candidates(bits):
            errors = _measure_bit_errors(held[owner][1], bits, shift)
            if errors is not None:
                yield NearDuplicate(held[owner][0], name, round(errors, 3))


def fingerprint(audio: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return one 32-bit word per 32 ms of 16 kHz samples, shape [n_frames]; empty for too short audio."""
    if len(audio) < _FRAME + _HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _FRAME)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32), axis=1)) ** 2
    edges_hz = np.geomspace(_MIN_HZ, _MAX_HZ, _BANDS + 1)
    edges = np.round(edges_hz * _FRAME / _SAMPLE_RATE_HZ).astype(int)
    edges = np.maximum.accumulate(np.maximum(edges, edges[0] + np.arange(_BANDS + 1)))
    energies = np.log(np.add.reduceat(spectrum[:, : edges[-1]], edges[:-1], axis=1) + 1e-10)
    signs = np.diff(np.diff(energies, axis=1), axis=0) > 0
    return np.packbits(signs, axis=1).view(">u4")[:, 0].astype(np.uint32)


@dataclass(frozen=True)
class _FingerprintIndex:
    """Index of every three of the four bytes of each word, because a codec rarely preserves all 32 bits."""

    keys: NDArray[np.uint32]
    """Sorted."""
    owners: NDArray[np.int32]
    frame_indices: NDArray[np.int32]
    """Frame of each key in its fingerprint."""

    @classmethod
    def of(cls, fingerprints: Sequence[NDArray[np.uint32]]) -> _FingerprintIndex:
        parts = [_compute_keys(bits) for bits in fingerprints]
        keys = np.concatenate([keys for keys, _ in parts])
        order = np.argsort(keys, kind="stable")
        owners = np.repeat(np.arange(len(parts), dtype=np.int32), [len(keys) for keys, _ in parts])
        return cls(keys[order], owners[order], np.concatenate([frame_indices for _, frame_indices in parts])[order])

    def find_candidates(self, bits: NDArray[np.uint32]) -> list[tuple[int, int]]:
        """Return (owner, shift) of the fingerprints that agree with `bits` often enough, each at its best shift."""
        keys, frame_indices = _compute_keys(bits)
        first, last = np.searchsorted(self.keys, keys, "left"), np.searchsorted(self.keys, keys, "right")
        counts = np.where(last - first < _MAX_HITS, last - first, 0)
        hits = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        shifts = self.frame_indices[hits] - np.repeat(frame_indices, counts)
        pairs, votes = np.unique(np.stack([self.owners[hits], shifts]), axis=1, return_counts=True)
        best: dict[int, tuple[int, int]] = {}
        for at in np.flatnonzero(votes >= _MIN_VOTES):
            owner, shift, count = int(pairs[0, at]), int(pairs[1, at]), int(votes[at])
            if count > best.get(owner, (0, 0))[0]:
                best[owner] = (count, shift)
        return [(owner, shift) for owner, (_, shift) in sorted(best.items())]


def _compute_keys(bits: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Return four keys of each word that is not silence (one byte replaced by its number each), and their frames."""
    frame_indices = np.flatnonzero(bits).astype(np.int32)
    octets = bits[frame_indices].astype(">u4").view(np.uint8).reshape(-1, 4)
    keys = [np.insert(np.delete(octets, left_out, axis=1), 0, left_out, axis=1) for left_out in range(4)]
    return np.concatenate(keys).view(">u4")[:, 0].astype(np.uint32), np.tile(frame_indices, 4)


def _measure_bit_errors(held: NDArray[np.uint32], bits: NDArray[np.uint32], shift: int) -> float | None:
    """Return the share of differing bits with `bits` shifted by `shift` frames in `held`; None with little overlap."""
    one, two = held[max(0, shift) :], bits[max(0, -shift) :]
    length = min(len(one), len(two))
    if length < max(_MIN_FRAMES, min(len(held), len(bits)) // 2):
        return None
    differing = (one[:length] ^ two[:length]).astype(">u4").view(np.uint8)
    return float(np.unpackbits(differing).mean())
