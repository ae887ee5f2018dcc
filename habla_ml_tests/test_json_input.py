"""JSON from outside: what is read, what is refused, and at what cost."""

from __future__ import annotations

import json
import math
import tracemalloc

import pytest

from habla_ml.errors import InputError
from habla_ml.json_input import MAX_JSON_VALUES, parse_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    assert parse_json('{"á": [1, "b"]}'.encode(encoding)) == {"á": [1, "b"]}


def test_values_that_python_writes_are_read() -> None:
    found = parse_json(json.dumps({"rms": math.nan, "text": "\ud800"}).encode())
    assert math.isnan(found["rms"])
    assert found["text"] == "\ud800"


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b'{"text": "secreto', "is not JSON"),
        (b'"secreto\xe9"', "is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[1" + b"0" * 5_000 + b"]", "is not JSON: Exceeds the limit"),
    ],
)
def test_what_cannot_be_read_is_refused_without_a_quote(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        parse_json(content)
    assert "secreto" not in str(refused.value)


def test_too_many_values_are_refused_before_any_is_built() -> None:
    bomb = b"[" + b"{}," * MAX_JSON_VALUES + b"{}]"
    tracemalloc.start()
    with pytest.raises(InputError, match=r"about 2,000,002 JSON values, more than the 1,000,000 allowed"):
        parse_json(bomb)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100_000


def test_the_bound_counts_each_value_once() -> None:
    assert parse_json(b'[1, {"a": 2, "b": []}]', 5) == [1, {"a": 2, "b": []}]
    with pytest.raises(InputError, match="about 5 JSON values, more than the 4 allowed"):
        parse_json(b'[1, {"a": 2, "b": []}]', 4)
