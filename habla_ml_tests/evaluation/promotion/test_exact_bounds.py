"""The promotion rule at the exact value of its bounds, and without some of its evidence."""

from __future__ import annotations

import pytest

from habla_ml.evaluation.comparison.annotator_difference import AnnotatorDifference
from habla_ml.evaluation.comparison.records import SliceChange
from habla_ml.evaluation.promotion.plausibility import list_alarms
from habla_ml.evaluation.promotion.replacement import count_missing_sessions, explain_keeping
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml_tests.evaluation.promotion.test_rule import RULE, make_harmed_comparison, make_rule_comparison, measure
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


def test_a_rate_at_the_lower_end_of_the_difference_of_people_is_no_alarm() -> None:
    candidate = measure().model("candidate")
    assert candidate is not None
    assert candidate.wer.value is not None
    for low, count in ((candidate.wer.value, 0), (candidate.wer.value + 0.001, 1), (None, 0)):
        difference = AnnotatorDifference(wer=0.5, low=low, high=0.6, segments=40)
        alarms = list(list_alarms(measure().model_copy(update={"annotators": difference})))
        assert len(alarms) == count
        assert all(f"is {100 * candidate.wer.value:.1f}\u00a0%, below the lower end" in each for each in alarms)


def test_without_words_or_a_candidate_no_rate_is_too_good() -> None:
    difference = AnnotatorDifference(wer=0.5, low=0.4, high=0.6, segments=40)
    for measured in (
        make_comparison([], {"base": 0.4, "candidate": 0.0}),
        make_comparison(make_utterances(2, 2), {"base": 0}),
    ):
        assert list(list_alarms(measured.model_copy(update={"annotators": difference}))) == []


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (-0.001, "too small for any practical number of test sessions"),
        (0.0, "it makes no fewer errors than v1"),
        (0.5, "it makes no fewer errors than v1"),
    ],
)
def test_no_number_of_sessions_is_promised_where_none_would_show_it(value: float, remedy: str) -> None:
    near = make_rule_comparison((0.31, 0.45, 0.55), against_previous=(-3, value, 3), probability=0.5)
    assert count_missing_sessions(near, near.changes[1], 0.8) is None
    superiority, found = explain_keeping(near, RULE)
    assert f"{value:+.1f} points (-3.0 to +3.0)" in superiority
    assert remedy in found


@pytest.mark.parametrize("absent", [{"superiority": None}, {"metrics": {}}])
def test_a_release_that_was_not_compared_is_kept(absent: dict[str, dict[str, Interval] | None]) -> None:
    comparison = make_rule_comparison((0.31, 0.45, 0.55), probability=0.5)
    change = comparison.changes[1].model_copy(update=absent)
    assert count_missing_sessions(comparison, change, 0.8) is None
    found = explain_keeping(comparison.model_copy(update={"changes": (comparison.changes[0], change)}), RULE)
    assert found[0] == "It was not compared with the released v1 on any words."


def test_no_gain_is_not_called_a_small_one() -> None:
    decision = decide(make_rule_comparison((-0.1, 0.0, 0.1)), RULE)
    assert decision.verdict == "refuse"
    assert not [each for each in decision.reasons if each.startswith("Errors fell by")]


@pytest.mark.parametrize(
    ("dimension", "title"),
    [
        ("speaker", "one speaker"),
        ("session", "one session"),
        ("seen_speaker", "the slice seen speaker 'Ana Ruiz'"),
    ],
)
def test_the_worst_slice_is_named_unless_its_name_is_that_of_a_person(dimension: str, title: str) -> None:
    lost = SliceChange(dimension=dimension, name="Ana Ruiz", points=Interval(6, 8, 10), loss_lower_bound_points=5.0)
    less = SliceChange(dimension="loudness", name="quiet", points=Interval(5, 9, 12), loss_lower_bound_points=4.0)
    found = [each for each in decide(make_harmed_comparison(slices=(less, lost)), RULE).guards if each.name == "slices"]
    assert (found[0].outcome, found[0].points) == ("failed", Interval(6, 8, 10))
    assert f"It is worse than base on {title} and 1 more: +8.0 points, at least +5.0" in found[0].reason
    unsure = lost.model_copy(update={"loss_lower_bound_points": -1.0})
    found = [each for each in decide(make_harmed_comparison(slices=(unsure,)), RULE).guards if each.name == "slices"]
    assert found[0].outcome == "not shown"
    assert f"cannot show that {title} is no worse than base: +8.0 points (+6.0 to +10.0)" in found[0].reason


@pytest.mark.parametrize("high", [RULE.slice_loss_points, RULE.slice_loss_points + 0.1])
def test_slices_pass_where_each_whole_interval_is_within_the_bound(high: float) -> None:
    fine = SliceChange(dimension="loudness", name="quiet", points=Interval(-4, -2, -1), loss_lower_bound_points=-5)
    near = fine.model_copy(update={"name": "loud", "points": Interval(-9, -3, high)})
    guards = decide(make_harmed_comparison(slices=(fine, near)), RULE).guards
    found = next(each for each in guards if each.name == "slices")
    assert found.points == Interval(-9, -3, high)
    bound = f"{RULE.slice_loss_points:+g}"
    expected = {
        "passed": f"No slice is worse than base by more than {bound} points.",
        "not shown": "The test speech cannot show that the slice loudness 'loud' is no worse than base: -3.0 points",
    }
    assert found.outcome == ("passed" if high == RULE.slice_loss_points else "not shown")
    assert found.reason.startswith(expected[found.outcome])
