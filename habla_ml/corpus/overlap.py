"""What validation and test share with train though no sound and no session is in two of them: texts and likeness.

A sentence that is said everywhere ("Sí.") is no leak, but a test set of such sentences measures little. Two
recordings of one sound (another microphone, a louder copy, a re-encoded file) have another sha256 each: they are
found by a fingerprint of the signs of energy differences between neighbouring bands and frames, after Haitsma and
Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.lake import Lake

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRAME: Final = 1024
_HOP: Final = 256
_BANDS: Final = 33
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 4000.0
_SAMPLE_RATE_HZ: Final = 16_000
_FEWEST_VOTES: Final = 4
_FEWEST_FRAMES: Final = 12
_MOST_BIT_ERRORS: Final = 0.25
"""Unrelated sounds differ in half of the bits; copies over a loudspeaker or a codec in less than a third."""


@dataclass(frozen=True)
class SharedSentence:
    """A sentence that train and a held-out split have both, but for case and punctuation."""

    sentence: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class NearDuplicate:
    """A held-out segment that sounds like one of train."""

    held_out: str
    """Id of the segment of validation or test."""
    train: str
    bit_errors: float
    """Share of differing bits where the two overlap, 0…0.5."""


def shared_sentences(lake: Lake, snapshot: Snapshot) -> tuple[SharedSentence, ...]:
    """Sentences that stand in train and in validation or test, those most often held out first."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(lake.get_bytes(snapshot.segments)), columns=["sentence", "split"])
    plain = pc.utf8_trim_whitespace(
        pc.replace_substring_regex(pc.utf8_lower(table["sentence"]), r"[\pP\pS\s]+", " ")
    )
    counted = table.append_column("plain", plain).group_by(["plain", "split"]).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in counted.filter(pc.is_in(counted["plain"], _held_out(counted))).to_pylist():
        found.setdefault(row["plain"], {})[row["split"]] = row["count_all"]
    shared = [
        SharedSentence(plain, counts["train"], counts.get("validation", 0), counts.get("test", 0))
        for plain, counts in found.items()
        if "train" in counts
    ]
    return tuple(sorted(shared, key=lambda each: (-each.validation - each.test, each.sentence)))


def near_duplicates(lake: Lake, snapshot: Snapshot) -> tuple[NearDuplicate, ...]:
    """Segments of validation and test that sound like one of train.

    Memory holds the fingerprints of validation and test (250 bytes a second of speech); train streams by.
    """
    held = [
        (each.segment_id, fingerprint(each.audio))
        for split in ("test", "validation")
        for each in read_utterances(lake, snapshot, split)
    ]
    if not held:
        return ()
    words = np.concatenate([bits for _, bits in held])
    owners = np.repeat(np.arange(len(held)), [len(bits) for _, bits in held])
    places = np.concatenate([np.arange(len(bits)) for _, bits in held])
    order = np.argsort(words, kind="stable")
    words, owners, places = words[order], owners[order], places[order]
    found = []
    for each in read_utterances(lake, snapshot, "train"):
        bits = fingerprint(each.audio)
        for owner, shift in _candidates(bits, words, owners, places):
            errors = _bit_errors(held[owner][1], bits, shift)
            if errors is not None and errors <= _MOST_BIT_ERRORS:
                found.append(NearDuplicate(held[owner][0], each.segment_id, round(errors, 3)))
    return tuple(found)


def fingerprint(audio: NDArray[np.float32]) -> NDArray[np.uint32]:
    """One word of 32 bits for each 16 ms of 16 kHz samples, shape [n_frames]; none for what is too short."""
    if len(audio) < _FRAME + _HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _FRAME)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32), axis=1)) ** 2
    edges_hz = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1)
    edges = np.round(edges_hz * _FRAME / _SAMPLE_RATE_HZ).astype(int)
    edges = np.maximum.accumulate(np.maximum(edges, edges[0] + np.arange(_BANDS + 1)))
    energies = np.log(np.add.reduceat(spectrum[:, : edges[-1]], edges[:-1], axis=1) + 1e-10)
    signs = np.diff(np.diff(energies, axis=1), axis=0) > 0
    return np.packbits(signs, axis=1).view(">u4")[:, 0].astype(np.uint32)


def _held_out(counted: pa.Table) -> pa.Array:
    import pyarrow.compute as pc

    return counted.filter(pc.not_equal(counted["split"], "train"))["plain"].combine_chunks()


def _candidates(
    bits: NDArray[np.uint32],
    words: NDArray[np.uint32],
    owners: NDArray[np.int64],
    places: NDArray[np.int64],
) -> list[tuple[int, int]]:
    """(owner, shift) pairs for which several words agree exactly; `words` is sorted."""
    first, last = np.searchsorted(words, bits, "left"), np.searchsorted(words, bits, "right")
    votes: dict[tuple[int, int], int] = {}
    for at in np.flatnonzero((last > first) & (last - first < 1000) & (bits != 0)):
        for hit in range(first[at], last[at]):
            key = (int(owners[hit]), int(places[hit]) - int(at))
            votes[key] = votes.get(key, 0) + 1
    best: dict[int, tuple[int, int]] = {}
    for (owner, shift), count in votes.items():
        if count >= _FEWEST_VOTES and count > best.get(owner, (0, 0))[0]:
            best[owner] = (count, shift)
    return [(owner, shift) for owner, (_, shift) in sorted(best.items())]


def _bit_errors(held: NDArray[np.uint32], bits: NDArray[np.uint32], shift: int) -> float | None:
    """Share of differing bits where `bits` lies `shift` frames into `held`; None where they hardly overlap."""
    one, two = held[max(0, shift) :], bits[max(0, -shift) :]
    length = min(len(one), len(two))
    if length < max(_FEWEST_FRAMES, min(len(held), len(bits)) // 2):
        return None
    differing = (one[:length] ^ two[:length]).astype(">u4").view(np.uint8)
    return float(np.unpackbits(differing).mean())
