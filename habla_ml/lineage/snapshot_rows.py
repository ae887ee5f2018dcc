"""Rows of a snapshot's table of segments, a row group at a time, only of the days that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.corpus.snapshot import Snapshot, load_snapshot
from habla_ml.errors import ObjectMissingError
from habla_ml.lake import Lake
from habla_ml.lineage.node import ReadCost


def load_present_snapshot(lake: Lake, snapshot_id: str) -> Snapshot | None:
    """Return a snapshot, or None if an erasure removed it."""
    try:
        return load_snapshot(lake, snapshot_id)
    except ObjectMissingError:
        return None


def read_snapshot_rows(
    lake: Lake, snapshot: Snapshot, columns: Sequence[str], days: Collection[str] | None, cost: ReadCost
) -> Iterator[pa.Table]:
    """Yield columns of the segments on these days (`columns` has `day`); memory holds one row group.

    The table is sorted by day and has the first and last day of each row group, so other days are mostly not read. A
    snapshot without one of the `days` is not opened at all; None reads every row.
    """
    if days is not None and not snapshot.recordings.keys() & set(days):
        return
    file = pq.ParquetFile(lake.fetch_path(snapshot.segments))
    groups = [
        at for at in range(file.num_row_groups) if days is None or _may_contain(file.metadata.row_group(at), days)
    ]
    cost.snapshots += 1
    for at in groups:
        table = file.read_row_group(at, columns=list(columns))
        cost.rows += table.num_rows
        yield table if days is None else table.filter(pc.is_in(table["day"], value_set=pa.array(sorted(days))))


def _may_contain(group: pq.RowGroupMetaData, days: Collection[str]) -> bool:
    for at in range(group.num_columns):
        column = group.column(at)
        if column.path_in_schema == "day":
            found = column.statistics
            return found is None or not found.has_min_max or any(found.min <= day <= found.max for day in days)
    return True
