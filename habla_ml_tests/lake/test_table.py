from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest

from habla_ml.lake.shards import iterate_batches
from habla_ml.lake.table import arrow_schema, put_table, read_parquet, read_table, write_table
from habla_ml_tests.testing.text_corpora import create_empty_lake


@dataclass
class _Row:
    segment_id: str
    number: int
    duration_s: float
    recorded_at: datetime | None
    status: Literal["corrected", "confirmed"]
    violations: tuple[str, ...]
    audio: bytes


def test_a_schema_has_the_columns_of_its_class_in_order():
    assert arrow_schema(_Row, without={"audio"}) == pa.schema(
        [
            pa.field("segment_id", pa.string(), nullable=False),
            pa.field("number", pa.int64(), nullable=False),
            pa.field("duration_s", pa.float64(), nullable=False),
            pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=True),
            pa.field("status", pa.string(), nullable=False),
            pa.field("violations", pa.list_(pa.string()), nullable=False),
        ]
    )


def test_a_type_without_a_column_type_is_refused():
    @dataclass
    class Bad:
        speakers: dict

    with pytest.raises(TypeError, match="speakers"):
        arrow_schema(Bad)


@pytest.mark.parametrize("n_rows", [1, 65_536, 150_000])
def test_a_table_in_parts_has_the_bytes_of_the_whole_table(tmp_path: Path, n_rows: int):
    rng, lake = np.random.default_rng(1), create_empty_lake(tmp_path)
    names = pa.array([f"name {number}" for number in rng.integers(500, size=n_rows)])
    rows = pa.table({"name": names, "duration_s": rng.random(n_rows)})
    edges = [0, *sorted(rng.integers(n_rows, size=7).tolist()), n_rows]
    parts = (rows.slice(one, other - one) for one, other in pairwise(edges))
    write_table(tmp_path / "parts.parquet", parts, rows.schema)
    assert lake.put_file(tmp_path / "parts.parquet") == put_table(lake, rows)


def test_the_columns_that_are_asked_for_are_read_in_their_order(tmp_path: Path):
    lake, rows = create_empty_lake(tmp_path), pa.table({"a": [1, 2], "b": ["x", "y"], "c": [True, False]})
    write_table(tmp_path / "rows.parquet", [rows], rows.schema)
    for read in (partial(read_parquet, tmp_path / "rows.parquet"), partial(read_table, lake, put_table(lake, rows))):
        assert read(None) == rows
        assert read(["c", "a"]) == rows.select(["c", "a"])


def test_memory_holds_one_batch_of_a_table_however_large_its_file_is(tmp_path):
    lake, rng = create_empty_lake(tmp_path), np.random.default_rng(1)
    table = put_table(lake, pa.table({"noise": rng.integers(0, 2**60, 2_000_000)}))
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for batch in iterate_batches(lake, table):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 2_000_000
    assert most < lake.fetch_path(table).stat().st_size / 4
