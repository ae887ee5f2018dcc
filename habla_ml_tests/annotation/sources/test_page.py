"""Answers on the service's page become annotation events."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.review_queue import ReviewItem, save_queue
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import page
from habla_ml_tests.testing.habla_sessions import NOW, ingest_into, set_age, write_session
from habla_ml_tests.testing.received_clips import DAY, RECEIVED, Inbox, make_inbox

SESSION = "11111_20260302_090000"


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_habla_day(tmp_path)


def make_habla_day(folder: Path, **sections: Any) -> Inbox:
    """Return an inbox next to a day of Habla with two segments."""
    inbox = make_inbox(folder, **sections)
    set_age(write_session(inbox.workspace.recordings, SESSION, 2), 24)
    ingest_into(inbox.workspace, DAY)
    return inbox


def issue_blind(inbox: Inbox, segment: Mapping[str, Any]) -> None:
    copied = {name: segment[name] for name in ("segment_id", "session_id", "day", "speaker", "duration_s")}
    item = ReviewItem(
        **copied, hint="", model_version="", score=0, reasons=("random: x",), is_random=True, blind_people=1
    )
    save_queue(inbox.workspace.lake, [item], RECEIVED)


def test_an_answer_becomes_an_event_of_its_segment_once(inbox: Inbox) -> None:
    assert inbox.find_days(page.SOURCE) == {}
    segment, other = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.", attempt=2)
    inbox.add_answer(2, other, "", status="unusable", reason="ruido")
    assert inbox.find_days(page.SOURCE) == {DAY: True}
    events = {each.segment_id: each for each in inbox.collect()}
    event = events[segment["segment_id"]]
    assert (event.text, event.status, event.attempt, event.is_blind) == ("Vamos.", "corrected", 2, False)
    assert (event.person, event.source, event.session_id) == ("Marta", "page", SESSION)
    assert (event.seen_text, event.model_version) == ("texto de la máquina", "v3")
    assert event.created_at == RECEIVED + timedelta(minutes=1)
    assert (events[other["segment_id"]].status, events[other["segment_id"]].reason) == ("unusable", "ruido")
    assert inbox.find_days(page.SOURCE) == {DAY: False}
    assert len(inbox.collect()) == 2


def test_an_answer_is_blind_only_if_a_queue_issued_the_segment_so_and_no_text_was_shown(inbox: Inbox) -> None:
    segment, other = inbox.read_segments()
    issue_blind(inbox, segment)
    hidden = {"seen_text": None, "is_blind": True}
    inbox.add_answer(1, segment, "Vamos.", **hidden)
    inbox.add_answer(2, other, "Venga.", **hidden)
    inbox.add_answer(3, segment, "Vamos ya.", person="Inés", is_blind=True)
    blind = {(each.text, each.is_blind, each.model_version) for each in inbox.collect()}
    assert blind == {("Vamos.", True, ""), ("Venga.", False, ""), ("Vamos ya.", False, "v3")}


def test_a_withdrawn_answer_counts_no_more_and_a_skipped_one_is_no_event(inbox: Inbox) -> None:
    segment, other = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.")
    inbox.add_answer(2, segment, "", status="withdrawn")
    inbox.add_answer(3, other, "", status="skipped")
    events = inbox.collect()
    assert [(each.status, each.seen_text is None) for each in events] == [("corrected", False), ("withdrawn", True)]
    assert inbox.find_days(page.SOURCE) == {DAY: False}


def test_a_speaker_that_an_answer_names_is_in_the_event_and_must_have_consented(tmp_path: Path) -> None:
    registry = tmp_path / "consents.yaml"
    registry.write_text("contributors:\n- contributor: c-017\n", "utf-8")
    inbox = make_habla_day(tmp_path / "here", consent={"registry": str(registry)})
    segment, other = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.", speaker="c-018")
    inbox.add_answer(2, other, "Venga.", speaker="C-017")
    assert [(each.text, each.speaker) for each in inbox.collect()] == [("Vamos.", "c-018")]
    registry.write_text("contributors:\n- contributor: c-017\n  given: 2026-01-01\n", "utf-8")
    assert inbox.find_days(page.SOURCE) == {DAY: True}
    assert {each.speaker for each in inbox.collect()} == {"c-018", "C-017"}


def test_the_same_text_with_another_speaker_is_an_event_of_its_own(inbox: Inbox) -> None:
    segment, _ = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.")
    inbox.add_answer(2, segment, "Vamos.", speaker="c-018")
    inbox.add_answer(3, segment, "Vamos.", speaker="c-018")
    assert [each.speaker for each in inbox.collect()] == ["", "c-018"]


def test_answers_on_erased_segments_are_deleted(inbox: Inbox) -> None:
    segment, other = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.")
    inbox.add_answer(2, other, "Venga.")
    context = SourceContext(inbox.workspace.lake, inbox.workspace.settings, NOW)
    assert page.SOURCE.forget(context, [segment["segment_id"]]).deleted == "1 answers of the page"
    assert [each.text for each in inbox.collect()] == ["Venga."]


def test_an_answer_from_a_clock_that_is_ahead_does_not_override_later_ones(inbox: Inbox) -> None:
    segment, _ = inbox.read_segments()
    inbox.add_answer(1, segment, "Vamos.", created_at=NOW + timedelta(days=900))
    (event,) = inbox.collect()
    assert event.created_at == NOW
