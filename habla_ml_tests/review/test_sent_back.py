"""A text that breaks the conventions is sent back until a person changes or confirms it."""

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
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.recorded_days import ANNOTATION_TIME, DAY, SimulatedSegment, publish_recordings
from habla_ml_tests.testing.released_models import make_review_settings

CONVENTIONS_V3 = load_conventions(V1.with_name("orthographic-v3.yaml"))
CHANGED_CONVENTIONS = replace(CONVENTIONS_V3, digest="f" * 64)
TEST_SEGMENTS = [SimulatedSegment("one", at, seconds=3.0, text=f"frase {at}") for at in range(8)]
SENT_BACK_SEGMENT = TEST_SEGMENTS[0]
HOUR = timedelta(hours=1)


class SentBackScenario:
    """One day and one annotator; each call makes a queue."""

    def __init__(self, lake, store, settings):
        self.lake, self.store, self.settings, self.conventions = lake, store, settings, CONVENTIONS_V3

    def annotate(self, text, at, number=0, status="corrected"):
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

    def make_request(self, at):
        """Make a queue and return its request, or None."""
        self.day = build_day(self.lake, DAY, self.conventions, self.settings)
        back = find_segments_to_send_back(self.lake)
        items = make_queue(self.lake, self.store, self.settings, at, print, back).queue.items
        requests = [each.request for each in items if each.is_sent_back]
        assert len(requests) <= 1
        return requests[0] if requests else None


@pytest.fixture
def scenario(lake, store, tmp_path):
    publish_recordings(lake, DAY, TEST_SEGMENTS, tmp_path)
    made = SentBackScenario(lake, store, make_review_settings(tmp_path, minutes=2))
    made.annotate("son  3", ANNOTATION_TIME)
    return made


def test_an_unanswered_request_is_repeated_and_stored_once(scenario):
    first = scenario.make_request(ANNOTATION_TIME + HOUR)
    assert first == ReviewRequest(1, ("doubled spaces", "digits"), CONVENTIONS_V3.digest, compute_digest("son  3"))
    assert scenario.make_request(ANNOTATION_TIME + timedelta(days=7)) == first
    [issued] = load_review_requests(scenario.lake)[SENT_BACK_SEGMENT.id]
    assert (issued.issued_at, issued.request) == (ANNOTATION_TIME + HOUR, first)


def test_a_confirmed_text_is_not_sent_back_and_stays_counted(scenario):
    scenario.make_request(ANNOTATION_TIME + HOUR)
    scenario.annotate("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    assert scenario.make_request(ANNOTATION_TIME + 3 * HOUR) is None
    assert scenario.day.violations == {"digits": 1, "doubled spaces": 1}
    assert count_confirmed(scenario.lake, scenario.day) == {"digits": 1, "doubled spaces": 1}
    [segment] = read_violations(scenario.lake, scenario.day)
    assert (segment.confirmed, segment.unconfirmed) == (("doubled spaces", "digits"), ())


def test_a_confirmation_counts_if_the_same_text_was_confirmed_before(scenario):
    scenario.annotate("son  3", ANNOTATION_TIME + HOUR / 2, status="confirmed")
    scenario.make_request(ANNOTATION_TIME + HOUR)
    scenario.annotate("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    assert scenario.make_request(ANNOTATION_TIME + 3 * HOUR) is None


def test_an_annotation_before_the_request_confirms_nothing(scenario):
    first = scenario.make_request(ANNOTATION_TIME + 2 * HOUR)
    scenario.annotate("son  3", ANNOTATION_TIME + HOUR, status="confirmed")
    assert scenario.make_request(ANNOTATION_TIME + 3 * HOUR) == first


def test_a_changed_text_that_is_still_wrong_is_sent_back_again(scenario):
    scenario.make_request(ANNOTATION_TIME + HOUR)
    scenario.annotate("Son 3.", ANNOTATION_TIME + 2 * HOUR, number=1)
    assert scenario.make_request(ANNOTATION_TIME + 3 * HOUR) == ReviewRequest(
        2, ("digits",), CONVENTIONS_V3.digest, compute_digest("Son 3.")
    )
    scenario.annotate("Son tres.", ANNOTATION_TIME + 4 * HOUR, number=2)
    assert scenario.make_request(ANNOTATION_TIME + 5 * HOUR) is None
    assert count_confirmed(scenario.lake, scenario.day) == {}


def test_changed_conventions_send_back_a_confirmed_text_until_it_is_confirmed_again(scenario):
    scenario.make_request(ANNOTATION_TIME + HOUR)
    scenario.annotate("son  3", ANNOTATION_TIME + 2 * HOUR, number=1, status="confirmed")
    scenario.conventions = CHANGED_CONVENTIONS
    again = scenario.make_request(ANNOTATION_TIME + 3 * HOUR)
    assert (again.attempt, again.conventions_digest) == (2, CHANGED_CONVENTIONS.digest)
    scenario.annotate("son  3", ANNOTATION_TIME + 4 * HOUR, number=2, status="confirmed")
    assert scenario.make_request(ANNOTATION_TIME + 5 * HOUR) is None
    scenario.conventions = CONVENTIONS_V3
    assert scenario.make_request(ANNOTATION_TIME + 6 * HOUR) is None
