"""A text that breaks the conventions is asked for again until a person changes or confirms it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.review_queue import ReviewRequest, load_review_requests
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.violations import count_confirmed, read_violations
from habla_ml.lake import compute_digest
from habla_ml.review.queue import find_segments_to_send_back, make_queue
from habla_ml_tests.review.conftest import make_review_settings
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.recorded_days import ANNOTATION_TIME, DAY, SimulatedSegment, publish_recordings

CONVENTIONS_V3 = load_conventions(V1.with_name("orthographic-v3.yaml"))
CHANGED_CONVENTIONS = replace(CONVENTIONS_V3, digest="f" * 64)
TEST_SEGMENTS = [SimulatedSegment("one", at, seconds=3.0, text=f"frase {at}") for at in range(8)]
SENT_BACK_SEGMENT = TEST_SEGMENTS[0]
HOUR = timedelta(hours=1)


class SentBackScenario:
    """One day, one person who types, a queue whenever somebody asks for it."""

    def __init__(self, lake, store, settings):
        self.lake, self.store, self.settings, self.conventions = lake, store, settings, CONVENTIONS_V3

    def say(self, text, at, number=0, status="corrected"):
        event = AnnotationEvent(
            SENT_BACK_SEGMENT.id,
            SENT_BACK_SEGMENT.session,
            DAY,
            text,
            status,
            "",
            "Marta",
            "label_studio",
            at,
            None,
            attempt=number,
        )
        append_events(self.lake, DAY, [event], {})

    def ask(self, at):
        """The objection of the queue that is made now, or None."""
        self.day = build_day(self.lake, DAY, self.conventions, self.settings)
        back = find_segments_to_send_back(self.lake)
        items = make_queue(self.lake, self.store, self.settings, at, print, back).queue.items
        objections = [each.request for each in items if each.is_sent_back]
        assert len(objections) <= 1
        return objections[0] if objections else None


@pytest.fixture
def scenario(lake, store, tmp_path):
    publish_recordings(lake, DAY, TEST_SEGMENTS, tmp_path)
    made = SentBackScenario(lake, store, make_review_settings(tmp_path, minutes=2))
    made.say("son  3", ANNOTATION_TIME)
    return made


def test_what_nobody_answered_is_asked_again_in_the_same_round_and_remembered_once(scenario):
    first = scenario.ask(ANNOTATION_TIME + HOUR)
    assert first == ReviewRequest(1, ("doubled spaces", "digits"), CONVENTIONS_V3.digest, compute_digest("son  3"))
    assert scenario.ask(ANNOTATION_TIME + timedelta(days=7)) == first
    [sending] = load_review_requests(scenario.lake)[SENT_BACK_SEGMENT.id]
    assert (sending.issued_at, sending.request) == (ANNOTATION_TIME + HOUR, first)


def test_a_confirmed_text_is_not_asked_again_and_stays_counted(scenario):
    scenario.ask(ANNOTATION_TIME + HOUR)
    scenario.say("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    assert scenario.ask(ANNOTATION_TIME + 3 * HOUR) is None
    assert scenario.day.violations == {"digits": 1, "doubled spaces": 1}
    assert count_confirmed(scenario.lake, scenario.day) == {"digits": 1, "doubled spaces": 1}
    [segment] = read_violations(scenario.lake, scenario.day)
    assert (segment.confirmed, segment.unconfirmed) == (("doubled spaces", "digits"), ())


def test_a_confirmation_counts_even_where_the_person_had_confirmed_the_very_text_before(scenario):
    scenario.say("son  3", ANNOTATION_TIME + HOUR / 2, status="confirmed")
    scenario.ask(ANNOTATION_TIME + HOUR)
    scenario.say("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    assert scenario.ask(ANNOTATION_TIME + 3 * HOUR) is None


def test_a_word_from_before_it_was_sent_back_confirms_nothing(scenario):
    first = scenario.ask(ANNOTATION_TIME + 2 * HOUR)
    scenario.say("son  3", ANNOTATION_TIME + HOUR, status="confirmed")
    assert scenario.ask(ANNOTATION_TIME + 3 * HOUR) == first


def test_a_changed_text_that_is_still_wrong_is_the_next_round(scenario):
    scenario.ask(ANNOTATION_TIME + HOUR)
    scenario.say("Son 3.", ANNOTATION_TIME + 2 * HOUR, number=1)
    assert scenario.ask(ANNOTATION_TIME + 3 * HOUR) == ReviewRequest(
        2, ("digits",), CONVENTIONS_V3.digest, compute_digest("Son 3.")
    )
    scenario.say("Son tres.", ANNOTATION_TIME + 4 * HOUR, number=2)
    assert scenario.ask(ANNOTATION_TIME + 5 * HOUR) is None
    assert count_confirmed(scenario.lake, scenario.day) == {}


def test_changed_conventions_ask_again_what_was_confirmed_and_a_second_confirmation_ends_it(scenario):
    scenario.ask(ANNOTATION_TIME + HOUR)
    scenario.say("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    scenario.conventions = CHANGED_CONVENTIONS
    again = scenario.ask(ANNOTATION_TIME + 3 * HOUR)
    assert (again.attempt, again.conventions_digest) == (2, CHANGED_CONVENTIONS.digest)
    scenario.say("son  3", ANNOTATION_TIME + 4 * HOUR, number=2, status="confirmed")
    assert scenario.ask(ANNOTATION_TIME + 5 * HOUR) is None
    scenario.conventions = CONVENTIONS_V3
    assert scenario.ask(ANNOTATION_TIME + 6 * HOUR) is None
