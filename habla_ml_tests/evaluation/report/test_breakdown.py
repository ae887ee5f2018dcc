import pytest

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.slices import DIMENSIONS as ALL_DIMENSIONS
from habla_ml.evaluation.metrics.dialect_features import DIALECT_FEATURES
from habla_ml.evaluation.report.breakdown import (
    DIMENSION_LABELS,
    PHENOMENON_LABELS,
    SESSIONS_SHOWN,
    break_down_test_set,
    describe_conditions,
    split_phenomena_by_size,
)
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml_tests.testing.full_comparison import make_full_comparison


@pytest.fixture(scope="module")
def measured() -> Comparison:
    return make_full_comparison()[0]


def test_every_dimension_and_phenomenon_has_a_name_for_people() -> None:
    assert {*DIMENSION_LABELS, "speaker", "session"} == set(ALL_DIMENSIONS)
    assert set(PHENOMENON_LABELS) == set(DIALECT_FEATURES)


def test_five_sessions_are_shown_those_first_in_which_the_model_surely_errs(measured: Comparison) -> None:
    shown = break_down_test_set(measured, "v2").sessions
    assert len(shown) == SESSIONS_SHOWN
    lows = [next(r.rate.interval.low for r in each.rates if r.model == "v2" and r.rate.interval) for each in shown]
    assert lows == sorted(lows, reverse=True)
    left = [
        next(r.rate.interval.low for r in each.rates if r.model == "v2" and r.rate.interval)
        for each in measured.slices
        if each.dimension == "session" and each not in shown
    ]
    assert max(left) <= lows[-1]
    assert all(each.too_small for each in shown)


def test_a_dimension_with_one_slice_repeats_the_whole_and_is_left_out(measured: Comparison) -> None:
    shown = [name for name, _ in break_down_test_set(measured, "v2").groups]
    assert shown[0] == "All"
    assert "Loudness" in shown
    assert "Source" not in shown


def test_rare_phenomena_stand_apart_with_the_reason_by_the_rule_of_the_slices(measured: Comparison) -> None:
    found = split_phenomena_by_size(measured)
    fewest = measured.method.smallest_slice_words
    assert found.large
    assert all(each.words >= fewest for each in found.large)
    assert found.small
    assert all(each.words < fewest and str(each.words) in reason for each, reason in found.small)
    assert len(found.large) + len(found.small) == len(measured.dialect_features)


def test_what_only_the_speaker_map_tells_is_asked_for_where_nobody_is_named(measured: Comparison) -> None:
    assert break_down_test_set(measured, "v2").missing_dimensions == ""
    unnamed = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"name": "unknown"})
                if each.dimension == "seen_speaker" and each.name == "heard in training"
                else each
                for each in measured.slices
                if each.dimension not in ("role", "seen_speaker") or each.name == "heard in training"
            )
        }
    )
    told = break_down_test_set(unnamed, "v2").missing_dimensions
    assert told.startswith("Speaker known from training: not known of any clip.")
    assert "corpus.speakers" in told


def test_markdown_names_the_dimension_of_a_slice_and_lists_no_speaker_that_is_too_small(
    measured: Comparison,
) -> None:
    text = render_markdown(Content(measured))
    assert "| Loudness | quiet" in text
    assert "| Role | teacher |" in text
    small = [each for each in measured.slices if each.dimension == "speaker" and each.too_small]
    large = [each for each in measured.slices if each.dimension == "speaker" and not each.too_small]
    assert all(f"| Speaker | {each.name} |" in text for each in large)
    few = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"too_small": "too small: 1 of the 3 sessions it takes"})
                if each.dimension == "speaker"
                else each
                for each in measured.slices
            )
        }
    )
    text = render_markdown(Content(few))
    assert "| Speaker |" not in text
    assert f"{len(small) + len(large)} speakers are too small to speak of." in text


def test_the_conditions_say_how_much_was_quiet_and_leave_out_what_nobody_knows(measured: Comparison) -> None:
    said = describe_conditions(measured)
    quiet = sum(each.words for each in measured.slices if each.name.startswith("quiet"))
    share = f"{100 * quiet / measured.test.words:.0f}\u00a0%"
    assert any(each.startswith("loudness: ") and share in each for each in said)
    unknown = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"name": "unknown"})
                for each in measured.slices
                if each.dimension == "source"
            )
        }
    )
    assert describe_conditions(unknown) == ()
