"""A text that breaks the conventions is asked for again until a person changes or confirms it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from habla_ml.annotation import AnnotationEvent, append_events
from habla_ml.annotation.review import Objection, sendings_back
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.violations import count_confirmed, read_violations
from habla_ml.lake import digest_of
from habla_ml.review.queue import make_queue, violations_sent_back
from habla_ml_tests.recordings.world import V1
from habla_ml_tests.review.conftest import settings_of
from habla_ml_tests.review.world import DAY, NOON, Spoken, record

THREE = load_conventions(V1.with_name("orthographic-v3.yaml"))
CHANGED = replace(THREE, digest="f" * 64)
SPOKEN = [Spoken("one", at, seconds=3.0, text=f"frase {at}") for at in range(8)]
ASKED = SPOKEN[0]
HOUR = timedelta(hours=1)


class Classroom:
    """One day, one person who types, a queue whenever somebody asks for it."""

    def __init__(self, lake, store, settings):
        self.lake, self.store, self.settings, self.conventions = lake, store, settings, THREE

    def say(self, text, at, number=0, status="corrected"):
        event = AnnotationEvent(
            ASKED.id, ASKED.session, DAY, text, status, "", "Marta", "label_studio", at, None, round=number
        )
        append_events(self.lake, DAY, [event], {})

    def ask(self, at):
        """The objection of the queue that is made now, or None."""
        self.day = build_day(self.lake, DAY, self.conventions, self.settings)
        back = violations_sent_back(self.lake)
        items = make_queue(self.lake, self.store, self.settings, at, print, back).queue.items
        objections = [each.objection for each in items if each.is_sent_back]
        assert len(objections) <= 1
        return objections[0] if objections else None


@pytest.fixture
def classroom(lake, store, tmp_path):
    record(lake, DAY, SPOKEN, tmp_path)
    made = Classroom(lake, store, settings_of(tmp_path, minutes=2))
    made.say("son  3", NOON)
    return made


def test_what_nobody_answered_is_asked_again_in_the_same_round_and_remembered_once(classroom):
    first = classroom.ask(NOON + HOUR)
    assert first == Objection(1, ("doubled spaces", "digits"), THREE.digest, digest_of("son  3"))
    assert classroom.ask(NOON + timedelta(days=7)) == first
    [sending] = sendings_back(classroom.lake)[ASKED.id]
    assert (sending.asked_at, sending.objection) == (NOON + HOUR, first)


def test_a_confirmed_text_is_not_asked_again_and_stays_counted(classroom):
    classroom.ask(NOON + HOUR)
    classroom.say("son  3", NOON + 2 * HOUR, number=1, status="confirmed")
    assert classroom.ask(NOON + 3 * HOUR) is None
    assert classroom.day.violations == {"digits": 1, "doubled spaces": 1}
    assert count_confirmed(classroom.lake, classroom.day) == {"digits": 1, "doubled spaces": 1}
    [segment] = read_violations(classroom.lake, classroom.day)
    assert (segment.confirmed, segment.unconfirmed) == (("doubled spaces", "digits"), ())


def test_a_confirmation_counts_even_where_the_person_had_confirmed_the_very_text_before(classroom):
    classroom.say("son  3", NOON + HOUR / 2, status="confirmed")
    classroom.ask(NOON + HOUR)
    classroom.say("son  3", NOON + 2 * HOUR, number=1, status="confirmed")
    assert classroom.ask(NOON + 3 * HOUR) is None


def test_a_word_from_before_it_was_sent_back_confirms_nothing(classroom):
    first = classroom.ask(NOON + 2 * HOUR)
    classroom.say("son  3", NOON + HOUR, status="confirmed")
    assert classroom.ask(NOON + 3 * HOUR) == first


def test_a_changed_text_that_is_still_wrong_is_the_next_round(classroom):
    classroom.ask(NOON + HOUR)
    classroom.say("Son 3.", NOON + 2 * HOUR, number=1)
    assert classroom.ask(NOON + 3 * HOUR) == Objection(2, ("digits",), THREE.digest, digest_of("Son 3."))
    classroom.say("Son tres.", NOON + 4 * HOUR, number=2)
    assert classroom.ask(NOON + 5 * HOUR) is None
    assert count_confirmed(classroom.lake, classroom.day) == {}


def test_changed_conventions_ask_again_what_was_confirmed_and_a_second_confirmation_ends_it(classroom):
    classroom.ask(NOON + HOUR)
    classroom.say("son  3", NOON + 2 * HOUR, number=1, status="confirmed")
    classroom.conventions = CHANGED
    again = classroom.ask(NOON + 3 * HOUR)
    assert (again.round, again.conventions_digest) == (2, CHANGED.digest)
    classroom.say("son  3", NOON + 4 * HOUR, number=2, status="confirmed")
    assert classroom.ask(NOON + 5 * HOUR) is None
    classroom.conventions = THREE
    assert classroom.ask(NOON + 6 * HOUR) is None
