"""Sums over streams of rows. The order of the rows decides the last digits, never the size of the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.snapshot import OPEN_SPLITS, SPLITS, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS_PER_HOUR: Final = 3600
_DIGITS: Final = 9
_LEAF: Final = 16


class PairwiseSum:
    """The sum of a stream of numbers by pairwise summation: bit for bit `pyarrow.compute.sum` of one array of them all."""

    def __init__(self) -> None:
        """Start at 0."""
        self._rest: NDArray[np.float64] = np.zeros(0)
        """The last numbers, fewer than a leaf."""
        self._sums: list[float | None] = []
        """At index n the sum of 2ⁿ leaves, where one waits for its neighbour."""

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Add numbers in their order."""
        numbers = np.concatenate([self._rest, numbers])
        n_full = len(numbers) - len(numbers) % _LEAF
        self._rest = numbers[n_full:]
        leaves = np.zeros(n_full // _LEAF)
        for column in numbers[:n_full].reshape(-1, _LEAF).T:
            leaves += column
        for leaf in leaves.tolist():
            _add_leaf(self._sums, leaf)

    def compute(self) -> float:
        """Return the sum of all numbers so far."""
        sums = list(self._sums)
        if len(self._rest):
            _add_leaf(sums, sum(self._rest.tolist()))
        total = 0.0
        for each in sums:
            total += each or 0.0
        return total


def _add_leaf(sums: list[float | None], value: float) -> None:
    for level, waiting in enumerate(sums):
        if waiting is None:
            sums[level] = value
            return
        sums[level], value = None, waiting + value
    sums.append(value)


class SplitTotals:
    """Segments and hours of each split of a snapshot."""

    def __init__(self) -> None:
        """Start without segments."""
        self._counts: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._seconds = {split: PairwiseSum() for split in SPLITS}

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows with `split` and `duration_s`."""
        for split in SPLITS:
            found = rows.filter(pc.equal(rows["split"], split))["duration_s"]
            self._counts[split] += len(found)
            self._seconds[split].add(found.to_numpy())

    @property
    def counts(self) -> dict[Split, int]:
        """Segments of each open split, and of the sealed share where it has some."""
        return select_splits(self._counts)

    @property
    def hours(self) -> dict[Split, float]:
        """Hours of the splits of `counts`."""
        return {split: _to_hours(self._seconds[split].compute()) for split in self.counts}


def select_splits(counts: dict[Split, int]) -> dict[Split, int]:
    """Return the number of each open split, and of the sealed share where it is not 0."""
    numbers = {split: counts.get(split, 0) for split in SPLITS}
    return {split: number for split, number in numbers.items() if split in OPEN_SPLITS or number}


class HoursByName:
    """Hours of each session, or of each value of another column, summed in the order of the rows."""

    def __init__(self, column: str = "session_id") -> None:
        """Start without rows."""
        self._column = column
        self._numbers: dict[str, int] = {}
        self._seconds: NDArray[np.float64] = np.zeros(0)

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows with the column and `duration_s`."""
        names = rows[self._column]
        names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
        encoded = names.dictionary_encode()
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in encoded.dictionary.to_pylist()]
        more = len(self._numbers) - len(self._seconds)
        self._seconds = np.concatenate([self._seconds, np.zeros(more)])
        np.add.at(self._seconds, np.array(numbers, np.int64)[encoded.indices.to_numpy()], rows["duration_s"].to_numpy())

    def compute(self) -> dict[str, float]:
        """Return name → hours, in the order of their first rows."""
        return {name: _to_hours(seconds) for name, seconds in zip(self._numbers, self._seconds.tolist(), strict=True)}


def _to_hours(seconds: float) -> float:
    return round(seconds / _SECONDS_PER_HOUR, _DIGITS)
