"""Sums over streams equal those over whole columns, to the last digit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from habla_ml.corpus.split_totals import HoursByName, PairwiseSum


@pytest.mark.parametrize("n_numbers", [0, 1, 15, 16, 17, 4097, 65_537])
def test_the_sum_of_a_stream_is_that_of_one_array(n_numbers: int) -> None:
    numbers = np.random.default_rng(n_numbers).integers(10_000, 200_000, n_numbers) / 16_000
    found = PairwiseSum()
    for first in range(0, n_numbers, 777):
        found.add(numbers[first : first + 777])
    assert found.compute() == (pc.sum(pa.array(numbers)).as_py() or 0.0)


def test_the_size_of_the_parts_does_not_change_the_hours_of_a_session() -> None:
    rng = np.random.default_rng(1)
    rows = pa.table({"session_id": rng.integers(0, 100, 9000).astype(str), "duration_s": rng.uniform(1, 9, 9000)})
    in_parts, at_once = HoursByName(), HoursByName()
    at_once.add(rows)
    for batch in rows.to_batches(max_chunksize=777):
        in_parts.add(batch)
    assert in_parts.compute() == at_once.compute()
    sums = rows.group_by("session_id", use_threads=False).aggregate([("duration_s", "sum")]).to_pylist()
    assert at_once.compute() == {row["session_id"]: round(row["duration_s_sum"] / 3600, 9) for row in sums}
