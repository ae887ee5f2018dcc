from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest
from habla_ml.review.selection import (
    DecodedCandidate,
    Ranked,
    SentBackSegment,
    _compute_mid_ranks,
    choose_within_budget,
    draw_random,
    interleave,
    rank,
    select_sent_back,
)
from habla_ml.settings import ReviewSettings, ReviewWeights
from habla_ml_tests.testing.recorded_days import make_decoded_candidate

QUIET_BELOW = -35.0
NONE = dict.fromkeys(ReviewWeights.model_fields, 0.0)


def ids(items: list[ReviewItem]) -> list[str]:
    return [each.segment_id for each in items]


def ranked(*pairs: tuple[DecodedCandidate, float]) -> list[Ranked]:
    return [Ranked(each, score, ("rejected: x",)) for each, score in pairs]


def weighing(**weights: float) -> ReviewSettings:
    return ReviewSettings(weights=ReviewWeights(**{**NONE, **weights}))


def test_a_rank_is_the_share_of_smaller_and_half_of_equal_values_and_zero_for_zero():
    assert _compute_mid_ranks(np.array([0.0, 1.0, 1.0, 2.0])).tolist() == [0, 4 / 8, 4 / 8, 7 / 8]
    assert _compute_mid_ranks(np.array([])).tolist() == []


def test_the_score_is_the_weighted_mean_of_ranks():
    both = rank(
        [
            make_decoded_candidate("a", avg_logprob=-2.0, loudness_dbfs=-50.0),
            make_decoded_candidate("b", avg_logprob=-1.0),
        ],
        weighing(uncertainty=1, quiet=3),
        QUIET_BELOW,
    )
    assert {each.decoded_candidate.candidate.segment_id: each.score for each in both} == {
        "a": pytest.approx((1 * 3 / 4 + 3 * 3 / 4) / 4),
        "b": pytest.approx((1 * 1 / 4) / 4),
    }


@pytest.mark.parametrize(
    ("weight", "urgent", "reason"),
    [
        ("uncertainty", {"avg_logprob": -0.7}, "unsure: v2 gives its tokens 50%"),
        ("disagreement", {"disagreement": 0.6}, "disputed: v2 and Habla differ in 60% of the words"),
        ("no_speech", {"no_speech_prob": 0.4}, "perhaps no speech: 40%"),
        ("confidence", {"machine_confidence": 0.3}, "Habla unsure: it gave 30%"),
        ("rejected", {"rejected": True}, "rejected: Habla's recogniser gave nothing"),
        ("quiet", {"loudness_dbfs": -47.2}, "quiet: -47 dBFS"),
        ("new_speaker", {"annotated_minutes": 0.4}, "new speaker: 0.4 min transcribed"),
    ],
)
def test_each_signal_alone_puts_its_segment_first_and_gives_the_reason(weight, urgent, reason):
    plain = [make_decoded_candidate(str(at), random_order=at) for at in range(5)]
    found = rank(
        [*plain, make_decoded_candidate("urgent", **urgent, random_order=9)], weighing(**{weight: 1.0}), QUIET_BELOW
    )
    assert found[0].decoded_candidate.candidate.segment_id == "urgent"
    assert found[0].reasons == (reason,)
    assert found[1].score == 0


def test_at_most_three_reasons_are_given_in_order_of_weight():
    urgent = make_decoded_candidate(
        "urgent", avg_logprob=-1.0, disagreement=0.5, rejected=True, loudness_dbfs=-50.0, annotated_minutes=0.0
    )
    found = rank(
        [urgent, make_decoded_candidate("plain")], weighing(uncertainty=3, disagreement=2, rejected=1, quiet=0.5), -35.0
    )
    assert [each.partition(":")[0] for each in found[0].reasons] == ["unsure", "disputed", "rejected"]


def test_a_clip_without_transcript_and_without_speech_is_left_out():
    noise = make_decoded_candidate("noise", text="", no_speech_prob=0.9, avg_logprob=-3.0)
    with_habla_text = make_decoded_candidate(
        "with text", text="", no_speech_prob=0.9, machine_text="hola", disagreement=1.0
    )
    found = rank([noise, with_habla_text], ReviewSettings(), QUIET_BELOW)
    assert [each.decoded_candidate.candidate.segment_id for each in found] == ["with text"]
    assert found[0].decoded_candidate.hint_version == "habla"


def test_the_minutes_are_not_exceeded_and_a_shorter_segment_may_fill_the_rest():
    pool = ranked(
        (make_decoded_candidate("long", duration_s=50.0), 0.9), (make_decoded_candidate("longer", duration_s=20.0), 0.8)
    )
    pool += ranked((make_decoded_candidate("short", duration_s=10.0), 0.1))
    assert ids(choose_within_budget(pool, minutes=1.0, most_per_session=9)) == ["long", "short"]


def test_a_session_gives_at_most_the_limit():
    pool = ranked(*((make_decoded_candidate(str(at), session_id="one"), 1 - at / 100) for at in range(9)))
    pool += ranked((make_decoded_candidate("other", session_id="two"), 0.01))
    assert ids(choose_within_budget(pool, minutes=30, most_per_session=2)) == ["0", "1", "other"]


def test_equal_words_and_equal_audio_are_chosen_once():
    pool = ranked(
        (make_decoded_candidate("first", text="¡Vale, vale!"), 0.9),
        (make_decoded_candidate("again", text="vale vale"), 0.8),
        (make_decoded_candidate("sound", text="otra", audio_sha256="first"), 0.7),
        (make_decoded_candidate("silent", text=""), 0.6),
        (make_decoded_candidate("silent too", text=""), 0.5),
    )
    assert ids(choose_within_budget(pool, minutes=30, most_per_session=9)) == ["first", "silent", "silent too"]


def test_each_chosen_minute_lowers_the_priority_of_a_speaker():
    """Ana's second segment counts 0.8 / (1 + 60 / 60) = 0.4, less than Luis's 0.5."""
    pool = ranked(
        (make_decoded_candidate("ana 1", duration_s=60.0), 0.9),
        (make_decoded_candidate("ana 2", duration_s=60.0), 0.8),
        (make_decoded_candidate("luis", speaker="Luis"), 0.5),
    )
    assert ids(choose_within_budget(pool, minutes=30, most_per_session=9)) == ["ana 1", "luis", "ana 2"]


@pytest.mark.parametrize("label", ["SPEAKER_00", "Speaker A"])
def test_a_local_label_is_another_speaker_in_another_session(label):
    pool = ranked(
        (make_decoded_candidate("one", speaker=label, duration_s=60.0), 0.9),
        (make_decoded_candidate("two", speaker=label, session_id="s2"), 0.8),
        (make_decoded_candidate("luis", speaker="Luis"), 0.5),
    )
    assert ids(choose_within_budget(pool, minutes=30, most_per_session=9)) == ["one", "two", "luis"]


def test_randomly_drawn_segments_count_as_chosen():
    drawn = make_decoded_candidate("drawn", text="hola", session_id="full")
    pool = ranked(
        (drawn, 0.9),
        (make_decoded_candidate("same words", text="Hola."), 0.8),
        (make_decoded_candidate("same session", session_id="full"), 0.7),
        (make_decoded_candidate("free"), 0.1),
    )
    assert ids(choose_within_budget(pool, minutes=30, most_per_session=1, taken=[drawn])) == ["free"]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.floats(0.1, 40), st.floats(0, 1)),
        max_size=40,
    ),
    st.floats(0.1, 3),
)
def test_the_choice_keeps_its_bounds_for_any_pool(rows, minutes):
    pool = ranked(
        *(
            (
                make_decoded_candidate(
                    str(at), session_id=f"s{session}", speaker=f"Voz {voice}", text=f"frase {words}", duration_s=seconds
                ),
                score,
            )
            for at, (session, voice, words, seconds, score) in enumerate(rows)
        )
    )
    chosen = choose_within_budget(pool, minutes, most_per_session=2)
    assert sum(each.duration_s for each in chosen) <= 60 * minutes + 1e-6
    assert len({each.hint for each in chosen}) == len(chosen)
    assert max(Counter(each.session_id for each in chosen).values(), default=0) <= 2
    assert not any(each.is_random for each in chosen)


def test_the_random_share_follows_the_random_order_and_is_marked():
    drawn = [
        make_decoded_candidate("a", duration_s=20.0),
        make_decoded_candidate("b", audio_sha256="a"),
        make_decoded_candidate("c", duration_s=20.0),
    ]
    items = draw_random(
        [*drawn, make_decoded_candidate("d", duration_s=30.0), make_decoded_candidate("e", duration_s=1.0)], minutes=1.0
    )
    assert ids(items) == ["a", "c"]
    assert all(each.is_random and each.score == 0 for each in items)


def test_random_segments_are_spread_over_the_whole_queue():
    chosen = choose_within_budget(ranked(*((make_decoded_candidate(str(at)), 1 - at / 9) for at in range(4))), 30, 9)
    drawn = draw_random([make_decoded_candidate("x"), make_decoded_candidate("y")], 30)
    assert ids(interleave(chosen, drawn)) == ["0", "x", "1", "2", "y", "3"]
    assert interleave([], []) == []


def test_a_segment_sent_back_shows_its_text_and_the_rules():
    candidate = make_decoded_candidate("a").candidate
    segment = SentBackSegment("a", candidate.day, "son  3", ReviewRequest(2, ("digits", "doubled spaces"), "c", "t"))
    (item,) = select_sent_back([(segment, candidate)], minutes=1)
    assert (item.hint, item.reasons) == ("son  3", ("conventions: digits, doubled spaces",))
    assert (item.is_sent_back, item.attempt, item.model_version) == (True, 2, "")
    assert select_sent_back([(segment, candidate)], minutes=0.01) == []
