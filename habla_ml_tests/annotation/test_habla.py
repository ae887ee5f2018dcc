"""Corrections made in Habla become events."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from habla_ml.annotation import AnnotationEvent, DayOfEvents, gather_corrections, read_events
from habla_ml.recordings import HABLA, SetAside, read_set_aside, segment_id
from habla_ml_tests.recordings.world import (
    NOW,
    World,
    age,
    make_world,
    write_corrections,
    write_json,
    write_session,
)

DAY = "2026-02-16"
A, B = "11111_20260216_090000", "22222_20260216_100000"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def gather(world: World) -> DayOfEvents:
    return gather_corrections(world.recordings, DAY, world.lake, world.settings, NOW)


def events(world: World) -> list[AnnotationEvent]:
    return read_events(world.lake, gather(world))


def problems(world: World) -> list[SetAside]:
    return list(read_set_aside(world.lake, gather(world).set_aside))


def test_typed_text_is_a_correction_heard_text_a_confirmation_and_machine_text_nothing(world: World) -> None:
    session = write_session(world.recordings, A, 3)
    write_corrections(session, {1: "Lo que dije.", 2: "texto 2"}, confirmed=[2])
    body = {"filename": "segment_003.wav", "transcript": "texto 3", "reviewed": False, "human_corrected": False}
    found = sorted(events(world), key=lambda event: event.text)
    assert [(event.text, event.status) for event in found] == [
        ("Lo que dije.", "corrected"),
        ("texto 2", "confirmed"),
    ]
    first = found[0]
    assert first.segment_id == segment_id(HABLA, A, "segment_001.wav")
    assert (first.day, first.session_id, first.source, first.seen_text) == (DAY, A, "habla", "texto 1")
    assert first.created_at == datetime(2026, 2, 23, 9, 12, 44, tzinfo=UTC)
    write_json(session / "corrected_ground_truth.json", {"segments": [body, {**body, "reviewed": None}]})
    assert len(events(world)) == 2


def test_text_is_kept_as_typed(world: World) -> None:
    typed = "  Que?  nin\u0303os…[risas]\t"
    write_corrections(write_session(world.recordings, A, 1), {1: typed})
    assert [event.text for event in events(world)] == [typed]


def test_a_save_that_changes_nothing_leaves_no_trace_and_a_change_is_one_more_event(world: World) -> None:
    session = write_session(world.recordings, A, 2)
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T09:00:00+00:00")
    assert gather(world).added == 2
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T10:00:00+00:00")
    assert gather(world).added == 0
    write_corrections(session, {1: "uno", 2: "doce"}, at="2026-02-23T11:00:00+00:00")
    assert gather(world).added == 1
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T12:00:00+00:00")
    assert gather(world).added == 1
    assert [event.text for event in events(world) if event.text != "uno"] == ["dos", "doce", "dos"]


def test_an_older_file_restored_from_a_backup_adds_nothing(world: World) -> None:
    session = write_session(world.recordings, A, 1)
    write_corrections(session, {1: "viejo"}, at="2026-02-23T09:00:00+00:00")
    gather(world)
    write_corrections(session, {1: "nuevo"}, at="2026-02-23T10:00:00+00:00")
    gather(world)
    write_corrections(session, {1: "viejo"}, at="2026-02-23T09:00:00+00:00")
    assert gather(world).added == 0
    assert [event.text for event in events(world)] == ["viejo", "nuevo"]


def test_reading_the_same_files_again_publishes_the_same_log(world: World) -> None:
    write_corrections(write_session(world.recordings, A, 2), {1: "uno", 2: "dos"})
    first = gather(world)
    assert (gather(world).parquet, gather(world).added) == (first.parquet, 0)


def test_events_stay_when_habla_deletes_the_session(world: World) -> None:
    session = write_session(world.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    gather(world)
    for path in session.iterdir():
        path.unlink()
    session.rmdir()
    write_corrections(write_session(world.recordings, B, 1), {1: "dos"})
    assert sorted(event.text for event in events(world)) == ["dos", "uno"]


def test_a_naive_or_missing_time_is_read_as_hablas_or_the_files(world: World) -> None:
    session = write_session(world.recordings, A, 1)
    write_corrections(session, {1: "uno"}, at="2026-07-01T12:00:00")
    assert events(world)[0].created_at == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
    other = write_session(world.recordings, B, 1)
    write_corrections(other, {1: "dos"}, at="")
    age(other, 1)
    [second] = [event for event in events(world) if event.text == "dos"]
    assert second.created_at == datetime(2026, 11, 20, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{oops", "no JSON"),
        ("[]", "expected an object"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": true}]}', "has no transcript"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": true, "transcript": 3}]}', "transcript of"),
        ('{"segments": [{"filename": "../../x.wav", "reviewed": true, "transcript": "x"}]}', "is no segment_"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": "yes", "transcript": "x"}]}', "reviewed of"),
        ('{"direction": "en_to_es", "segments": []}', "English"),
    ],
)
def test_what_makes_no_sense_is_set_aside_and_other_sessions_are_not(
    world: World, content: str, reason: str
) -> None:
    (write_session(world.recordings, A, 1) / "corrected_ground_truth.json").write_text(content)
    write_corrections(write_session(world.recordings, B, 1), {1: "dos"})
    assert [event.text for event in events(world)] == ["dos"]
    assert any(each.session == A and reason in each.reason for each in problems(world))
    write_corrections(world.recordings / A, {1: "uno"})
    assert sorted(event.text for event in events(world)) == ["dos", "uno"]
    assert problems(world) == []


def test_an_event_read_back_is_the_event_written(world: World) -> None:
    write_corrections(write_session(world.recordings, A, 1), {1: "uno"})
    [event] = events(world)
    again = AnnotationEvent(
        segment_id=segment_id(HABLA, A, "segment_001.wav"),
        session_id=A,
        day=DAY,
        text="uno",
        status="corrected",
        reason="",
        person="",
        source="habla",
        created_at=datetime(2026, 2, 23, 9, 12, 44, tzinfo=UTC),
        seen_text="texto 1",
    )
    assert (event, event.event_id) == (again, again.event_id)
