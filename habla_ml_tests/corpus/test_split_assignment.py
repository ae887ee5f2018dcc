"""Groups are assigned to splits by hours, reproducibly and close to the requested shares."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from habla_ml.corpus.snapshot import Split
from habla_ml.corpus.split_assignment import assign_splits, compute_split_shares
from habla_ml.errors import CorpusError
from habla_ml.settings import SplitSettings

SHARES = SplitSettings()


def sum_hours(hours: Mapping[str, float], found: Mapping[str, Split]) -> dict[str, float]:
    return {
        split: sum(hours[group] for group, each in found.items() if each == split)
        for split in ("train", "validation", "test")
    }


def test_equal_sessions_are_split_80_10_10() -> None:
    hours = {f"s{n}": 1.0 for n in range(1000)}
    assert sum_hours(hours, assign_splits(hours, {}, SHARES)) == {"train": 800, "validation": 100, "test": 100}


def test_unequal_sessions_match_the_shares_of_the_hours_within_one_point() -> None:
    hours = {f"s{n}": 0.1 + (n * 7919 % 100) / 100 for n in range(500)}
    found, total = sum_hours(hours, assign_splits(hours, {}, SHARES)), sum(hours.values())
    assert {split: each / total for split, each in found.items()} == {
        "train": pytest.approx(0.8, abs=0.01),
        "validation": pytest.approx(0.1, abs=0.01),
        "test": pytest.approx(0.1, abs=0.01),
    }


def test_three_groups_fill_three_splits_and_two_are_both_train() -> None:
    assert sorted(assign_splits({"a": 1, "b": 2, "c": 3}, {}, SHARES).values()) == ["test", "train", "validation"]
    assert assign_splits({"a": 1, "b": 2}, {}, SHARES) == {"a": "train", "b": "train"}
    assert assign_splits({"a": 8, "b": 8, "c": 1}, {"a": "train", "b": "train"}, SHARES)["c"] == "test"
    assert assign_splits({"b": 1}, {"a": "train"}, SHARES)["b"] == "train"


def test_known_groups_keep_their_split_and_new_ones_go_where_hours_are_missing() -> None:
    ledger: dict[str, Split] = {"a": "train", "b": "train", "gone": "validation"}
    assert assign_splits({"a": 8, "b": 8, "c": 1}, ledger, SHARES) == {**ledger, "c": "test"}


def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_names() -> None:
    hours = {f"s{n:03d}": 1.0 for n in range(100)}
    found = assign_splits(hours, {}, SHARES)
    assert found == assign_splits(dict(reversed(hours.items())), {}, SHARES)
    assert found != assign_splits(hours, {}, SplitSettings(seed=1))
    assert [n for n in range(100) if found[f"s{n:03d}"] == "test"] != list(range(10))


def test_shares_that_leave_nothing_for_train_are_refused() -> None:
    with pytest.raises(CorpusError, match="leave nothing for train"):
        assign_splits({"a": 1}, {}, SplitSettings(validation=0.5, test=0.5))
    assert compute_split_shares(SplitSettings(validation=0.25, test=0.5)) == {
        "train": 0.25,
        "validation": 0.25,
        "test": 0.5,
    }


def test_a_split_without_a_share_gets_no_group() -> None:
    assert set(assign_splits({f"s{n}": 1 for n in range(9)}, {}, SplitSettings(test=0)).values()) == {
        "train",
        "validation",
    }


def test_a_giant_group_goes_to_train_and_the_others_fill_the_held_out_splits() -> None:
    hours = {"giant": 60.0, **{f"s{n}": 0.5 for n in range(80)}}
    for seed in range(20):
        found = assign_splits(hours, {}, SplitSettings(seed=seed))
        assert found["giant"] == "train"
        assert sum_hours(hours, found) == {
            "train": pytest.approx(80, abs=1),
            "validation": pytest.approx(10, abs=1),
            "test": pytest.approx(10, abs=1),
        }


@pytest.mark.parametrize("seed", range(10))
def test_large_groups_are_placed_before_small_ones_so_that_the_shares_fit_exactly(seed: int) -> None:
    hours = {"a": 70.0, "b": 10.0, "c": 10.0, "d": 5.0, "e": 5.0}
    found = assign_splits(hours, {}, SplitSettings(seed=seed))
    assert sum_hours(hours, found) == {"train": 80, "validation": 10, "test": 10}


@pytest.mark.parametrize("seed", range(10))
def test_the_largest_of_three_groups_is_train(seed: int) -> None:
    assert assign_splits({"a": 1, "b": 2, "c": 3}, {}, SplitSettings(seed=seed))["c"] == "train"


def test_groups_without_eligible_hours_are_train() -> None:
    hours = {f"s{n}": 1.0 for n in range(20)}
    assert set(assign_splits(hours, {}, SHARES, {}).values()) == {"train"}
    found = assign_splits(hours, {}, SHARES, {**hours, "s3": 0.0, "s7": 0.0})
    assert (found["s3"], found["s7"]) == ("train", "train")
    assert sum_hours(hours, found) == {"train": 16, "validation": 2, "test": 2}


def test_held_out_splits_count_eligible_hours_and_train_counts_all_hours() -> None:
    hours = {f"s{n}": 1.0 for n in range(1000)}
    found = assign_splits(hours, {}, SHARES, dict.fromkeys(hours, 0.5))
    # With k groups in each held-out split: 0.5 k / (1000 - 2 k + k) = 0.1, so k = 166.7.
    assert sum_hours(hours, found) == {
        "train": pytest.approx(667, abs=2),
        "validation": pytest.approx(167, abs=2),
        "test": pytest.approx(167, abs=2),
    }


def test_groups_of_the_ledger_without_hours_do_not_count() -> None:
    hours = {f"s{n}": 1.0 for n in range(10)}
    gone: dict[str, Split] = {f"gone{n}": "train" for n in range(1000)}
    found = assign_splits(hours, gone, SHARES)
    assert sum_hours(hours, {group: found[group] for group in hours}) == {"train": 8, "validation": 1, "test": 1}


def test_equal_hours_fill_test_first() -> None:
    ledger: dict[str, Split] = {"a": "train", "b": "train"}
    assert assign_splits({"a": 8, "b": 8, "c": 1, "d": 1}, ledger, SHARES, {"c": 1}) == {
        **ledger,
        "c": "test",
        "d": "train",
    }


def test_without_room_a_group_goes_to_the_split_with_the_most_missing_hours() -> None:
    # Of 27 h, c fills test (3 of 2.7 h) and d validation (2 of 2.7 h). b would exceed every share by over one point;
    # train misses 0.6 h, validation 0.7 h and test none.
    found = assign_splits({"a": 21.0, "b": 1.0, "c": 3.0, "d": 2.0}, {"a": "train"}, SplitSettings(seed=0))
    assert found == {"a": "train", "b": "validation", "c": "test", "d": "validation"}
    # Of 100 h, train misses 5 h and validation 4 h; b has room in neither.
    known: dict[str, Split] = {"a": "train", "c": "test", "d": "validation"}
    assert assign_splits({"a": 75.0, "b": 7.0, "c": 12.0, "d": 6.0}, known, SHARES)["b"] == "train"


@pytest.mark.parametrize("seed", range(10))
def test_the_assignment_does_not_depend_on_the_unit_of_the_hours(seed: int) -> None:
    hours = {"giant": 60.0, **{f"s{n}": 0.25 + (n * 7919 % 100) / 64 for n in range(48)}}
    scaled = {group: each / 1024 for group, each in hours.items()}
    settings = SplitSettings(seed=seed)
    assert assign_splits(hours, {}, settings) == assign_splits(scaled, {}, settings)


def test_the_assignment_of_a_seed_does_not_change_between_versions() -> None:
    three = {seed: assign_splits(dict.fromkeys("abc", 1.0), {}, SplitSettings(seed=seed)) for seed in (0, 1)}
    assert three == {
        0: {"a": "test", "b": "validation", "c": "train"},
        1: {"a": "train", "b": "test", "c": "validation"},
    }
    hours = {"giant": 60.0, **{f"s{n}": 0.25 + (n * 7919 % 100) / 64 for n in range(48)}}
    found = assign_splits(hours, {}, SHARES)
    assert sorted(group for group, split in found.items() if split == "test") == [
        "s14",
        "s15",
        "s2",
        "s21",
        "s26",
        "s36",
        "s38",
        "s43",
        "s47",
    ]
    assert sorted(group for group, split in found.items() if split == "validation") == [
        "s10",
        "s20",
        "s22",
        "s30",
        "s31",
        "s42",
        "s44",
        "s5",
    ]
