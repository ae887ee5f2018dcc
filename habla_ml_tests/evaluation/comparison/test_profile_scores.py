from dataclasses import replace

import pytest

from habla_ml.evaluation.comparison.profile_scores import ProfileScores, score_profiles, select_clips
from habla_ml.evaluation.report.serving import build_profile_table, describe_profiles
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import RecognisedWord
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


def test_the_end_of_the_last_segment_is_scored_where_words_are_marked_and_timestamps_written() -> None:
    options = {name: build_profile_options(name, EvaluationSettings()) for name in ("habla", "phone")}
    habla, phone = (simulate_hypotheses(UTTERANCES, 0.1, seed=1) for _ in options)
    phone = [replace(each, segments_s=(0.0, 1.5 if at % 2 else 0.9)) for at, each in enumerate(phone)]
    marked = {
        UTTERANCES[0].segment_id: (RecognisedWord("los", 0.1, 0.4), RecognisedWord("niños", 0.4, 1.0)),
        UTTERANCES[1].audio_sha256: (RecognisedWord("los", 0.1, 1.2),),
        "clip of another set": (RecognisedWord("mar", 0.0, 9.0),),
    }
    found = score_profiles(UTTERANCES, options, {"habla": habla, "phone": phone}, 60, TEST_SETTINGS, marked)
    silent, timed = found.scores
    assert (silent.segment_ends, silent.timed_clips) == (None, 0), "Habla decodes without timestamps"
    assert timed.segment_ends is not None
    assert timed.timed_clips == 2
    assert timed.segment_ends.mean_absolute_ms == pytest.approx((100 + 300) / 2)
    assert timed.segment_ends.bias_ms == pytest.approx((-100 + 300) / 2)
    comparison = make_comparison(UTTERANCES, {"base": 0.3, "candidate": 0.1}).model_copy(update={"profiles": found})
    assert [row[-1].text for row in build_profile_table(comparison).rows] == ["–", "200\u00a0ms"]


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
