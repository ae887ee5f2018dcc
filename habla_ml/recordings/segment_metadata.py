"""Reading a day's metadata: its segments without their audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from habla_ml.lake import Lake


def read_segment_metadata(
    lake: Lake, metadata: str, columns: Sequence[str] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The rows of a day's metadata in order, with the named columns (None: all of `SEGMENT_METADATA_SCHEMA`).

    Args:
        lake: where the day is.
        metadata: object id of the metadata, from `IngestedDay` or `PublishedDay`.
        columns: the columns wanted.
    """
    for batch in pq.ParquetFile(lake.fetch_path(metadata)).iter_batches(columns=columns):
        yield from batch.to_pylist()
