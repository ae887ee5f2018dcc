"""Reading a day's facts: its segments without their audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from habla_ml.lake import Lake


def read_facts(lake: Lake, facts: str, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any]]:
    """The rows of a day's facts in order, with the named columns (None: all of `FACTS_SCHEMA`).

    Args:
        lake: where the day is.
        facts: object id of the facts, from `DayOfRecordings` or `PublishedDay`.
        columns: the columns wanted.
    """
    for batch in pq.ParquetFile(lake.path_of(facts)).iter_batches(columns=columns):
        yield from batch.to_pylist()
