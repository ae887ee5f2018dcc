"""Clips of a real queue are given to people on the page, answered, taken back, and read by the pipeline."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.clips_to_correct import ClipToCorrect, Correction, hand_out_clips, measure_progress
from habla_ml.annotation.event_log import load_events, read_events, read_valid_events
from habla_ml.annotation.page_answers import (
    GivenAnswer,
    SavedAnswer,
    count_week,
    find_monday,
    list_history,
    save_page_answer,
    take_answer_back,
)
from habla_ml.annotation.review_audio import iterate_audio, read_clip_audio
from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import page
from habla_ml.errors import InputError
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.hand_outs import RESERVED_FOR
from habla_ml.inbox.unread_texts import delete_answers_of
from habla_ml_tests.testing.clips_to_correct import HINT, SESSION, make_clip, make_review_deployment
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment, annotate

NOW = datetime(2026, 2, 11, 12, tzinfo=UTC)
LATER = NOW + RESERVED_FOR + timedelta(seconds=1)
Open = Callable[..., Correction]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Open]]:
    databases: list[Database] = []

    def make(*items: ReviewItem, **sections: Any) -> Open:
        settings, lake = make_review_deployment(tmp_path, *items, **sections)
        databases.append(database := open_database(settings))

        def work(person: str = "Ana", now: datetime = NOW) -> Correction:
            return Correction(lake, database, settings, person, now)

        return work

    yield make
    for each in databases:
        each.close()


def answer(correction: Correction, clip: ClipToCorrect, text: str = "", **fields: Any) -> SavedAnswer:
    status, reason, speaker = fields.pop("status", "corrected"), fields.pop("reason", ""), fields.pop("speaker", "")
    given = GivenAnswer(str(uuid.uuid4()), status, text, reason, speaker, timedelta(**fields))
    return save_page_answer(correction, clip.hand_out, given)


def numbers(clips: list[ClipToCorrect]) -> list[int]:
    known = {SimulatedSegment(SESSION, number).id: number for number in range(1, 7)}
    return [known[each.item.segment_id] for each in clips]


def collect(correction: Correction) -> None:
    page.collect(SourceContext(correction.lake, correction.settings, correction.now), DAY)


def test_a_clip_goes_to_one_person_at_a_time_and_again_when_it_is_not_answered(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2), make_clip(3))
    assert numbers(hand_out_clips(work("Ana"), 2)) == [1, 2]
    assert numbers(hand_out_clips(work("Eva"), 2)) == [3]
    assert numbers(hand_out_clips(work("ana"), 3)) == [1, 2]
    assert numbers(hand_out_clips(work("Eva", LATER), 3)) == [1, 2, 3]


def test_answered_and_skipped_clips_do_not_come_again(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2), make_clip(3))
    first, second, _ = hand_out_clips(work(), 3)
    answer(work(), first, "bueno pues")
    answer(work(), second, status="skipped")
    assert numbers(hand_out_clips(work(), 3)) == [3]
    assert numbers(hand_out_clips(work("Eva", LATER), 3)) == [2, 3]
    assert numbers(hand_out_clips(work(), 3, [make_clip(3).segment_id])) == []


def test_a_clip_that_was_answered_elsewhere_does_not_come_again(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2, "", 1), make_clip(3))
    annotate(work().lake, DAY, [SimulatedSegment(SESSION, 1), SimulatedSegment(SESSION, 2)])
    # A text that was not typed blind is no answer to a blind request.
    assert numbers(hand_out_clips(work(), 3)) == [2, 3]
    progress = measure_progress(work())
    assert (progress.clips, progress.answered) == (3, 1)


def test_two_people_type_a_blind_clip_and_get_no_text_of_the_model_or_of_each_other(
    opened: Callable[..., Open],
) -> None:
    # The text in the queue is what a damaged queue could have.
    work = opened(make_clip(1, "secreto del modelo", 2))
    (mine,), (hers,) = hand_out_clips(work("Ana"), 1), hand_out_clips(work("Eva"), 1)
    assert hand_out_clips(work("Luz"), 1) == []
    assert "secreto" not in repr((mine, hers))
    first = answer(work("Ana"), mine, "lo que oye ana")
    second = answer(work("Eva"), hers, "lo que oye eva")
    assert first.others == second.others == ()
    history = list_history(work("Eva"), mine.item.segment_id)
    assert [each.text for each in history] == ["lo que oye eva"]
    collect(work())
    log = load_events(work().lake, DAY)
    assert log is not None
    found = {(each.person, each.text, each.is_blind, each.seen_text) for each in read_events(work().lake, log)}
    assert found == {("Ana", "lo que oye ana", True, None), ("Eva", "lo que oye eva", True, None)}
    assert hand_out_clips(work("Luz", LATER), 1) == []


def test_a_repeated_answer_is_one_and_an_id_is_for_one_answer(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1))
    (clip,) = hand_out_clips(work(), 1)
    given = GivenAnswer(str(uuid.uuid4()), "corrected", "bueno", "", "", timedelta(minutes=5))
    first = save_page_answer(work(), clip.hand_out, given)
    again = save_page_answer(work("Ana", LATER), clip.hand_out, given)
    assert first == again
    assert first.answer.created_at == NOW - timedelta(minutes=5)
    with pytest.raises(InputError, match="exists with other content"):
        save_page_answer(work(), clip.hand_out, replace(given, text="malo"))
    with pytest.raises(InputError, match="exists with other content"):
        save_page_answer(work("Eva"), clip.hand_out, given)
    assert [each.text for each in list_history(work(), clip.item.segment_id)] == ["bueno"]


def test_a_named_speaker_is_kept_offered_for_its_session_and_left_out_of_what_was_skipped(
    opened: Callable[..., Open],
) -> None:
    work = opened(make_clip(1), make_clip(2), make_clip(3), make_clip(4))
    first, second, third = hand_out_clips(work(), 3)
    assert first.speakers == ("Ana", "Luis")
    assert answer(work(), first, "bueno", speaker="  c-017 ").answer.speaker == "c-017"
    assert answer(work(), second, status="skipped", speaker="c-018").answer.speaker == ""
    answer(work(), third, "pues", speaker="unknown")
    (fourth,) = hand_out_clips(work(), 1)
    assert fourth.speakers == ("Ana", "Luis", "c-017")


def test_the_text_as_shown_is_a_confirmation_and_the_shown_text_is_the_servers(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2))
    first, second = hand_out_clips(work(), 2)
    for clip, status, text in ((first, "corrected", HINT), (second, "confirmed", "otra cosa")):
        saved = answer(work(), clip, text, status=status).answer
        assert (saved.status, saved.text, saved.seen_text, saved.model_version) == ("confirmed", HINT, HINT, "v2")


@pytest.mark.parametrize(
    ("people", "fields"),
    [
        (0, {"text": "  "}),
        (1, {"status": "confirmed"}),
        (0, {"status": "unusable"}),
        (0, {"text": "hola", "reason": "private"}),
    ],
)
def test_an_answer_that_does_not_fit_its_clip_is_refused(
    opened: Callable[..., Open], people: int, fields: dict[str, str]
) -> None:
    work = opened(make_clip(1, "" if people else HINT, people))
    (clip,) = hand_out_clips(work(), 1)
    with pytest.raises(InputError):
        answer(work(), clip, **fields)
    assert list_history(work(), clip.item.segment_id) == []


def test_different_answers_of_two_people_are_shown_and_one_can_be_taken_back(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1))
    (mine,), (hers,) = hand_out_clips(work("Ana"), 1), hand_out_clips(work("Eva", LATER), 1)
    answer(work("Ana"), mine, "la de ana")
    saved = answer(work("Eva"), hers, "la de eva")
    assert [(each.person, each.text) for each in saved.others] == [("Ana", "la de ana")]
    collect(work())
    assert take_answer_back(work("Ana"), saved.answer.answer_id, str(uuid.uuid4())) is None
    assert take_answer_back(work("Eva", LATER), saved.answer.answer_id, str(uuid.uuid4())) is not None
    collect(work("Ana", LATER))
    log = load_events(work().lake, DAY)
    assert log is not None
    assert read_valid_events(work().lake, log.parquet, ["text"]).to_pylist() == [{"text": "la de ana"}]


def test_equal_answers_of_two_people_are_no_conflict(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1))
    (mine,), (hers,) = hand_out_clips(work("Ana"), 1), hand_out_clips(work("Eva", LATER), 1)
    answer(work("Ana"), mine, "igual")
    assert answer(work("Eva"), hers, "igual").others == ()


def test_an_answer_that_is_taken_back_brings_the_clip_back(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2))
    first, second = hand_out_clips(work(), 2)
    for clip, fields in ((first, {"text": "mal"}), (second, {"status": "skipped"})):
        saved = answer(work(), clip, **fields)
        take_answer_back(work(), saved.answer.answer_id, str(uuid.uuid4()))
    assert numbers(hand_out_clips(work(), 2)) == [1, 2]
    assert [each.status for each in list_history(work(), first.item.segment_id)] == ["corrected", "withdrawn"]
    assert [each.status for each in list_history(work(), second.item.segment_id)] == ["skipped", "resumed"]
    assert count_week(work()) == 0


def test_a_taken_back_skip_leaves_an_earlier_answer(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1))
    (clip,) = hand_out_clips(work(), 1)
    answer(work(), clip, "bueno pues")
    skipped = answer(work(), clip, status="skipped")
    take_answer_back(work(), skipped.answer.answer_id, str(uuid.uuid4()))
    assert hand_out_clips(work(), 1) == []
    assert count_week(work()) == 1


def test_a_text_that_is_sent_back_comes_to_who_typed_it(opened: Callable[..., Open]) -> None:
    request = ReviewRequest(1, ("digits",), "0" * 64, "1" * 64)
    work = opened(make_clip(1, "tengo 3", request=request))
    annotate(work().lake, DAY, [SimulatedSegment(SESSION, 1)])
    (clip,) = hand_out_clips(work("Marta"), 1)
    assert answer(work("Marta"), clip, status="confirmed").answer.attempt == 1
    assert hand_out_clips(work("Eva", LATER), 1) == []


def test_a_clip_without_consent_or_without_a_recording_is_not_given(
    opened: Callable[..., Open], tmp_path: Path
) -> None:
    (tmp_path / "consents.yaml").write_text("contributors:\n- {contributor: c1, speakers: [{label: Ana}]}\n", "utf-8")
    work = opened(make_clip(1), make_clip(2), make_clip(77), consent={"registry": str(tmp_path / "consents.yaml")})
    assert numbers(hand_out_clips(work(), 5)) == [2]


def test_the_audio_of_one_clip_is_that_of_its_segment(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2))
    lake, item = work().lake, make_clip(2)
    ((_, _, expected),) = iterate_audio(lake, [item])
    assert read_clip_audio(lake, DAY, item.segment_id) == expected
    assert read_clip_audio(lake, DAY, str(uuid.uuid4())) is None
    assert read_clip_audio(lake, "2020-01-01", item.segment_id) is None


def test_an_erasure_deletes_the_texts_that_the_page_showed(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1))
    (clip,) = hand_out_clips(work(), 1)
    answer(work(), clip, "bueno")
    assert delete_answers_of(work().database, [clip.item.segment_id]) == 1
    with work().database.read() as connection:
        for table in ("answers", "hand_outs"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0  # noqa: S608


def test_the_week_begins_on_monday_in_the_zone_of_the_settings(opened: Callable[..., Open]) -> None:
    work = opened(make_clip(1), make_clip(2))
    zone = work().settings.zone
    monday = find_monday(NOW.astimezone(zone))
    assert (monday.weekday(), monday.hour, monday.date().isoformat()) == (0, 0, "2026-02-09")
    first, second = hand_out_clips(work(), 2)
    answer(work("Ana", monday - timedelta(seconds=1)), first, "domingo")
    answer(work("Ana", monday), second, "lunes")
    assert count_week(work()) == 1
