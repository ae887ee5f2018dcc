import pytest

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.slices import DIMENSIONS as ALL_DIMENSIONS
from habla_ml.evaluation.metrics.dialect_features import DIALECT_FEATURES
from habla_ml.evaluation.report.breakdown import (
    DIALECT_FEATURE_LABELS,
    DIMENSION_LABELS,
    SESSIONS_SHOWN,
    describe_conditions,
    explain_missing_dimensions,
    list_wide_slices,
    select_worst_sessions,
)
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.tables import build_dialect_table, list_rare_features
from habla_ml_tests.testing.full_comparison import make_full_comparison


@pytest.fixture(scope="module")
def measured() -> Comparison:
    return make_full_comparison()[0]


def test_every_dimension_and_feature_has_a_label() -> None:
    assert {*DIMENSION_LABELS, "speaker", "session"} == set(ALL_DIMENSIONS)
    assert set(DIALECT_FEATURE_LABELS) == set(DIALECT_FEATURES)


def test_the_five_sessions_with_the_highest_lower_bound_of_the_error_rate_are_shown(measured: Comparison) -> None:
    shown = select_worst_sessions(measured, "v2")
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


def test_a_dimension_with_a_single_slice_is_left_out(measured: Comparison) -> None:
    shown = [each.dimension for each in list_wide_slices(measured)]
    assert shown[0] == "overall"
    assert "loudness" in shown
    assert "source" not in shown


def test_a_slice_without_words_is_left_out(measured: Comparison) -> None:
    empty = tuple(
        each.model_copy(update={"words": 0}) if each.dimension in ("loudness", "speaker") else each
        for each in measured.slices
    )
    text = render_markdown(ReportContent(measured.model_copy(update={"slices": empty})))
    assert "| Loudness" not in text
    assert "| Manuel" not in text


def test_rare_features_are_separate_and_give_the_reason(measured: Comparison) -> None:
    fewest = measured.method.smallest_slice_words
    large = [each for each in measured.dialect_features if each.words >= fewest]
    shown = [row[0].text for row in build_dialect_table(measured).rows]
    assert shown == [DIALECT_FEATURE_LABELS[each.feature] for each in large]
    rare = list_rare_features(measured)
    assert len(rare) == len(measured.dialect_features) - len(large)
    assert all("too small" in each for each in rare)


def test_without_a_speaker_map_the_report_explains_how_to_add_one(measured: Comparison) -> None:
    assert explain_missing_dimensions(measured) == ""
    unnamed = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"name": "unknown"})
                if each.dimension == "seen_speaker" and each.name == "known from training"
                else each
                for each in measured.slices
                if each.dimension not in ("role", "seen_speaker") or each.name == "known from training"
            )
        }
    )
    explanation = explain_missing_dimensions(unnamed)
    assert explanation.startswith("Speaker known from training: unknown for all clips.")
    assert "corpus.speakers" in explanation


def test_markdown_names_the_dimension_of_a_slice_and_omits_small_speakers(
    measured: Comparison,
) -> None:
    text = render_markdown(ReportContent(measured))
    assert "| Loudness: quiet" in text
    assert "| Role: teacher |" in text
    small = [each for each in measured.slices if each.dimension == "speaker" and each.too_small]
    large = [each for each in measured.slices if each.dimension == "speaker" and not each.too_small]
    assert all(f"| {each.name} |" in text for each in large)
    few = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"too_small": "too small: 1 of the required 3 sessions"})
                if each.dimension == "speaker"
                else each
                for each in measured.slices
            )
        }
    )
    text = render_markdown(ReportContent(few))
    assert not any(f"| {each.name} |" in text for each in large)
    assert f"{len(small) + len(large)} speakers have too little speech for an error rate." in text


def test_conditions_give_the_share_of_quiet_speech_and_omit_unknown_dimensions(measured: Comparison) -> None:
    conditions = describe_conditions(measured)
    quiet = sum(each.words for each in measured.slices if each.name.startswith("quiet"))
    share = f"{100 * quiet / measured.test.words:.0f}\u00a0%"
    assert any(each.startswith("loudness: ") and share in each for each in conditions)
    unknown = measured.model_copy(
        update={
            "slices": tuple(
                each.model_copy(update={"name": "unknown"}) for each in measured.slices if each.dimension == "source"
            )
        }
    )
    assert describe_conditions(unknown) == ()
