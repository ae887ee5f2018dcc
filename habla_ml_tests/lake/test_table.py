from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pytest

from habla_ml.lake.table import arrow_schema


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
