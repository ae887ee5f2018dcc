"""Whether the plan of a review queue holds, and which of several splits counts for a person."""

from __future__ import annotations

import itertools

import pytest

from habla_ml.corpus.planned_splits import bind_planned_sessions
from habla_ml.corpus.session_splits import find_splits_by_name
from habla_ml.corpus.snapshot import Split
from habla_ml.settings import SplitSettings

PLANNED: dict[str, Split] = {"a": "train", "b": "train", "c": "validation", "d": "test", "z": "test"}


@pytest.mark.parametrize(
    ("sessions", "decided", "expected"),
    [
        ("abcd", {}, "abcd"),  # the plan fills each split
        ("abxy", {"x": "validation", "y": "test"}, "ab"),  # the ledger fills them
        ("abcy", {"y": "test"}, "abc"),  # both together
        ("abc", {}, "bc"),  # no test session: an unselected session of train is released
        ("abd", {}, "bd"),
        ("abcd", {"a": "validation"}, "bcd"),  # a decided session needs no plan
    ],
)
def test_the_plan_holds_where_no_held_out_split_would_be_empty(
    sessions: str, decided: dict[str, Split], expected: str
) -> None:
    found = bind_planned_sessions(PLANNED, list(sessions), ["b"], decided, SplitSettings())
    assert found == {each: PLANNED[each] for each in expected}


def test_a_split_without_a_share_may_stay_empty() -> None:
    assert set(bind_planned_sessions(PLANNED, "abd", [], {}, SplitSettings(validation=0.0))) == set("abd")
    assert set(bind_planned_sessions(PLANNED, "abc", [], {}, SplitSettings(test=0.0))) == set("abc")
    assert set(bind_planned_sessions(PLANNED, "abd", [], {}, SplitSettings())) == {"d"}


@pytest.mark.parametrize("order", list(itertools.permutations(["Ana", "ANA", " ana "])))
@pytest.mark.parametrize(
    ("splits", "strictest"),
    [
        (("sealed", "test", "train"), "sealed"),
        (("sealed", "validation", "train"), "sealed"),
        (("test", "validation", "train"), "test"),
        (("validation", "train", "train"), "validation"),
    ],
)
def test_of_several_splits_of_a_person_the_one_counts_that_training_must_not_use(
    order: tuple[str, ...], splits: tuple[Split, ...], strictest: Split
) -> None:
    assert find_splits_by_name(dict(zip(order, splits, strict=True))) == {"ana": strictest}
