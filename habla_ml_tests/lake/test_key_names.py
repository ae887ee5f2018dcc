"""Which keys a store takes, and what a listing may begin with."""

from __future__ import annotations

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake.reachability import find_ids, find_ids_in_text, reachable_objects
from habla_ml.lake.store import check_key, check_prefix

PART = "a" * 200
LONGEST = "/".join([PART, PART, PART, PART, "a" * 96])
ONE, TWO, THREE, FOUR = (digit * 64 for digit in "1234")


@pytest.mark.parametrize("key", ["a", "A/Z/0", "_x/y.json", "a=1/b+c-d", "a..b", PART, LONGEST])
def test_a_key_is_a_relative_path_of_plain_parts(key: str) -> None:
    assert check_key(key) == check_prefix(key) == key
    assert check_prefix(f"{key[:100]}/") == f"{key[:100]}/"


@pytest.mark.parametrize(
    "key",
    [
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".hidden",
        "a/.b",
        "-a",
        "a b",
        "á",
        "a\\b",
        "a\n",
        f"{PART}a",
        f"{LONGEST}a",
    ],
)
def test_a_key_that_could_leave_the_store_or_is_too_long_is_refused(key: str) -> None:
    with pytest.raises(LakeError, match="is not a relative path of letters, digits"):
        check_key(key)
    if not key.endswith("a/"):
        with pytest.raises(LakeError, match="is not the start of a store key"):
            check_prefix(key)


def test_a_listing_may_be_of_everything() -> None:
    assert check_prefix("") == ""
    with pytest.raises(LakeError):
        check_key("")


def test_what_a_pointer_leads_to_is_found_in_keys_values_and_malformed_json() -> None:
    assert list(find_ids({"a": [ONE, {TWO: None}], "b": ONE[:-1], "c": f" {ONE}", "d": 3})) == [ONE, TWO]
    assert find_ids_in_text(f'{{"a": "{ONE}", "{TWO}') == [ONE, TWO]
    stored = {ONE: f'["{TWO}", "{FOUR}"]'.encode(), TWO: b'\xff"' + THREE.encode() + b'"', THREE: b""}
    pointers = [("first", {"tree": ONE}), ("second", {"tree": THREE}), ("third", {"tree": FOUR})]
    expected = {ONE: "first", TWO: "first", THREE: "first"}
    assert reachable_objects(pointers, stored, stored.__getitem__) == expected
