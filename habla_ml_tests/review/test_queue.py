from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from habla_ml.annotation.review_queue import ReviewRequest, load_queue
from habla_ml.lake import catalogue
from habla_ml.review.queue import format_iso_week, make_queue
from habla_ml.review.selection import SentBackSegment
from habla_ml.review.split_plan import plan_splits
from habla_ml.settings import SplitSettings
from habla_ml_tests.testing.chosen_segments import read_chosen_segments
from habla_ml_tests.testing.recorded_days import (
    ANNOTATION_TIME,
    DAY,
    NEXT_DAY,
    SimulatedSegment,
    annotate,
    publish_recordings,
)
from habla_ml_tests.testing.released_models import make_review_settings, release, serve_without_speech_detection

TEST_SEGMENTS = [
    SimulatedSegment(
        f"s{at % 7}", at, f"Voz {at % 4}", 3.0, -20.0 - at % 30, f"frase número {at}", 0.3 + 0.6 * (at % 10) / 10
    )
    for at in range(120)
]


@pytest.fixture
def week(lake, tmp_path):
    """Two days, six minutes of speech."""
    publish_recordings(lake, DAY, TEST_SEGMENTS[:60], tmp_path)
    publish_recordings(lake, NEXT_DAY, TEST_SEGMENTS[60:], tmp_path)


def test_without_a_release_metadata_alone_choose_within_the_minutes(lake, store, tmp_path, week):
    made = make_queue(
        lake,
        store,
        make_review_settings(tmp_path, minutes=2, random_share=0.25, weights={"quiet": 0}),
        ANNOTATION_TIME,
        print,
    )
    items = made.queue.items
    assert (made.model_version, made.decoded, made.candidates) == ("", 0, 120)
    assert 1.9 <= made.queue.minutes <= 2
    assert 24 < sum(each.work_s for each in items if each.is_random) <= 30  # a segment for two people counts twice
    assert len({each.segment_id for each in items}) == len(items)
    assert all(each.reasons for each in items)
    assert all(bool(each.hint) is not each.is_blind and each.is_blind is each.is_random for each in items)
    assert all(each.model_version == ("" if each.is_blind else "habla") for each in items)
    confidence = {each.id: each.confidence for each in TEST_SEGMENTS}
    means = [
        sum(confidence[each.segment_id] for each in items if each.is_random is chance)
        / sum(each.is_random is chance for each in items)
        for chance in (True, False)
    ]
    assert means[0] > means[1] + 0.1


def test_random_segments_are_not_recorded_as_chosen_for_their_difficulty(lake, store, tmp_path, week):
    items = make_queue(lake, store, make_review_settings(tmp_path, minutes=2), ANNOTATION_TIME, print).queue.items
    assert read_chosen_segments(lake) == {each.segment_id for each in items if not each.is_random}


def test_the_same_week_publishes_nothing_new_and_the_next_week_draws_others(lake, store, tmp_path, week):
    settings = make_review_settings(tmp_path, minutes=2)
    first = make_queue(lake, store, settings, ANNOTATION_TIME, print)
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    assert make_queue(lake, store, settings, ANNOTATION_TIME + timedelta(hours=5), print).queue == first.queue
    assert lake.read_pointer(catalogue.REVIEW_QUEUE) == pointer
    later = make_queue(lake, store, settings, ANNOTATION_TIME + timedelta(days=7), print).queue
    drawn = [{each.segment_id for each in of.items if each.is_random} for of in (first.queue, later)]
    assert drawn[0] != drawn[1]
    assert load_queue(lake) == later


def test_annotated_segments_leave_the_queue_and_the_random_draw_stays(lake, store, tmp_path, week):
    settings = make_review_settings(tmp_path, minutes=2)
    first = make_queue(lake, store, settings, ANNOTATION_TIME, print).queue
    done = {each.segment_id for each in first.items[:10]}
    annotate(lake, DAY, [each for each in TEST_SEGMENTS[:60] if each.id in done])
    annotate(lake, NEXT_DAY, [each for each in TEST_SEGMENTS[60:] if each.id in done])
    second = make_queue(lake, store, settings, ANNOTATION_TIME, print).queue
    assert not done & {each.segment_id for each in second.items}
    kept = {each.segment_id for each in first.items if each.is_random} - done
    assert kept <= {each.segment_id for each in second.items if each.is_random}


@pytest.mark.slow
def test_hints_are_from_the_released_model_and_a_second_queue_decodes_nothing(lake, store, tmp_path, artefact):
    publish_recordings(lake, DAY, [replace(each, seconds=0.5) for each in TEST_SEGMENTS[:12]], tmp_path)
    release(lake, store, "v1", artefact, tmp_path / "models")
    settings = serve_without_speech_detection(make_review_settings(tmp_path))
    first, second = (make_queue(lake, store, settings, ANNOTATION_TIME, print) for _ in range(2))
    in_train = sum(
        split == "train" for split in (plan_splits(lake, settings).splits[each.session] for each in TEST_SEGMENTS[:12])
    )
    assert (first.model_version, first.decoded, second.decoded) == ("v1", in_train, 0)
    assert 0 < in_train < 12
    assert second.queue == first.queue
    by_model = [each for each in first.queue.items if each.model_version == "v1"]
    assert by_model
    assert not any(each.hint.startswith("frase número") for each in by_model)


def test_a_random_choice_is_of_all_speakers_and_loudnesses_alike_and_in_train(lake, store, tmp_path, week):
    settings = make_review_settings(tmp_path, choice="random", minutes=4, random_share=0.25)
    made = make_queue(lake, store, settings, ANNOTATION_TIME, print)
    items = made.queue.items
    assert 3.9 <= made.queue.minutes <= 4
    assert all(each.is_random for each in items)
    in_train = [each for each in items if each.split == "train"]
    assert 170 < sum(each.work_s for each in in_train) <= 210
    assert not any(each.is_blind for each in in_train)
    assert len({each.segment_id for each in items}) == len(items)
    assert read_chosen_segments(lake) == set()
    order = sorted(plan_splits(lake, settings).splits[each.session_id] for each in items)
    assert order == sorted(each.split for each in items)
    assert make_queue(lake, store, settings, ANNOTATION_TIME, print).queue == made.queue


@pytest.mark.slow
def test_a_random_choice_decodes_little_more_than_it_chooses(lake, store, tmp_path, artefact):
    publish_recordings(lake, DAY, [replace(each, seconds=0.5) for each in TEST_SEGMENTS], tmp_path)
    release(lake, store, "v1", artefact, tmp_path / "models")
    settings = serve_without_speech_detection(make_review_settings(tmp_path, choice="random", minutes=0.1))
    made = make_queue(lake, store, settings, ANNOTATION_TIME, print)
    chosen = [each for each in made.queue.items if each.split == "train"]
    assert 0 < len(chosen) <= made.decoded <= 1.25 * 6 / 0.5


def test_segments_sent_back_are_first_and_not_recorded_as_difficult(lake, store, tmp_path, week):
    annotate(lake, DAY, TEST_SEGMENTS[:2])
    wrong = ReviewRequest(1, ("digits",), "c", "t")
    segments = [SentBackSegment(TEST_SEGMENTS[0].id, DAY, "son 3", wrong), SentBackSegment("gone", DAY, "y", wrong)]
    queue = make_queue(lake, store, make_review_settings(tmp_path, minutes=2), ANNOTATION_TIME, print, segments).queue
    first = queue.items[0]
    assert (first.segment_id, first.hint, first.reasons) == (TEST_SEGMENTS[0].id, "son 3", ("conventions: digits",))
    assert [each.segment_id for each in queue.items if each.is_sent_back] == [TEST_SEGMENTS[0].id]
    assert TEST_SEGMENTS[0].id not in read_chosen_segments(lake)
    assert queue.minutes <= 2


def test_a_tracker_label_of_two_sessions_counts_as_two_speakers(lake, store, tmp_path):
    """If both were one speaker, the second segment would lose half its score and follow Ana's."""
    spoken = [
        SimulatedSegment("one", 1, "Speaker A", 60.0, text="uno", confidence=0.1),
        SimulatedSegment("two", 2, "Speaker A", 60.0, text="dos", confidence=0.2),
        SimulatedSegment("two", 3, "Ana", 60.0, text="tres", confidence=0.3),
        *(SimulatedSegment("three", at, "Luis", text=f"frase {at}") for at in range(9)),
    ]
    publish_recordings(lake, DAY, spoken, tmp_path)
    settings = make_review_settings(tmp_path, random_share=0, weights={"new_speaker": 0})
    settings = settings.model_copy(update={"splits": SplitSettings(validation=0, test=0)})
    items = make_queue(lake, store, settings, ANNOTATION_TIME, print).queue.items
    assert [each.segment_id for each in items[:3]] == [each.id for each in spoken[:3]]


def test_an_empty_lake_gives_an_empty_queue(lake, store, settings):
    made = make_queue(lake, store, settings, ANNOTATION_TIME, print)
    assert (made.queue.items, made.queue.minutes, made.candidates) == ((), 0, 0)


def test_the_week_is_the_iso_week():
    assert format_iso_week(datetime(2026, 2, 9, tzinfo=UTC)) == "2026-W07"
    assert format_iso_week(datetime(2027, 1, 1, tzinfo=UTC)) == "2026-W53"
