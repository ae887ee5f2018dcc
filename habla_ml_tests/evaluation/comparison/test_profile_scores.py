import pytest

from habla_ml.evaluation.comparison.profile_scores import ProfileScores, score_profiles, select_clips
from habla_ml.evaluation.report.serving import build_profile_table, describe_profiles
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.serving_profiles import build_profile_options
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_SETTINGS,
    make_comparison,
    make_utterances,
    simulate_hypotheses,
)

UTTERANCES = make_utterances(10, 6)
RATES = {"habla": 0.1, "phone": 0.6, "faster-whisper default": 0.1}


def score_planted() -> ProfileScores:
    options = {name: build_profile_options(name, EvaluationSettings()) for name in RATES}
    decoded = {name: simulate_hypotheses(UTTERANCES, rate, seed=1) for name, rate in RATES.items()}
    return score_profiles(UTTERANCES, options, decoded, 240, TEST_SETTINGS)


def test_each_profile_is_compared_with_the_deciding_one_on_the_same_clips() -> None:
    found = score_planted()
    habla, phone, other = found.scores
    assert (found.deciding, habla.points) == ("habla", None)
    assert phone.points is not None
    assert other.points is not None
    assert phone.points.value == pytest.approx(100 * (phone.wer.value - habla.wer.value))
    assert phone.points.low > 20
    assert other.points.value == 0, "the same texts"
    assert -10 < other.points.low == -other.points.high < 0
    assert len({each.wer.counts.reference_words for each in found.scores}) == 1


def test_the_report_names_the_sample_the_gap_and_no_difference_that_is_none() -> None:
    comparison = make_comparison(UTTERANCES, {"base": 0.3, "candidate": 0.1})
    assert describe_profiles(comparison) == ()
    comparison = comparison.model_copy(update={"profiles": score_planted()})
    about, gap = describe_profiles(comparison)
    assert "a random sample of 60 of 240 test clips of 10 sessions" in about
    assert gap.startswith("Served as phone, the model makes more errors than as habla: +")
    assert [row[0].text for row in build_profile_table(comparison).rows] == ["habla (decides)", *list(RATES)[1:]]


def test_the_sample_is_random_fixed_and_complete_where_no_bound_is_set() -> None:
    total, chosen = select_clips(UTTERANCES, 20)
    assert (total, len(chosen)) == (60, 20)
    assert set(select_clips(UTTERANCES[::-1], 20)[1]) == set(chosen)
    assert len({each.session_id for each in chosen.values()}) > 5, "not the first sessions"
    assert len(select_clips(UTTERANCES, None)[1]) == 60
    assert select_clips(UTTERANCES, 0) == (60, {})
