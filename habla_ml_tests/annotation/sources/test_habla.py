"""Corrections made in Habla become events."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.annotation.event_log import DayEventLog, read_event_table, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.sources import collect_events
from habla_ml.lake import compute_digest
from habla_ml.recordings.days import read_skipped_inputs
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.recordings.sessions import Skipped
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    B,
    HablaWorkspace,
    make_workspace,
    set_age,
    write_corrections,
    write_json,
    write_session,
)


def collect(workspace: HablaWorkspace) -> DayEventLog:
    return collect_events(workspace.lake, DAY, workspace.settings, NOW)


def read_log(workspace: HablaWorkspace) -> list[AnnotationEvent]:
    return read_events(workspace.lake, collect(workspace))


def list_skipped(workspace: HablaWorkspace) -> list[Skipped]:
    return list(read_skipped_inputs(workspace.lake, collect(workspace).set_aside))


def test_typed_text_is_a_correction_reviewed_text_a_confirmation_and_machine_text_no_event(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 3)
    write_corrections(session, {1: "Lo que dije.", 2: "texto 2"}, confirmed=[2])
    body = {"filename": "segment_003.wav", "transcript": "texto 3", "reviewed": False, "human_corrected": False}
    found = sorted(read_log(workspace), key=lambda event: event.text)
    assert [(event.text, event.status) for event in found] == [
        ("Lo que dije.", "corrected"),
        ("texto 2", "confirmed"),
    ]
    first = found[0]
    assert first.segment_id == segment_id(HABLA_SOURCE, A, "segment_001.wav")
    assert (first.day, first.session_id, first.source, first.seen_text) == (DAY, A, "habla", "texto 1")
    assert first.created_at == datetime(2026, 2, 23, 9, 12, 44, tzinfo=UTC)
    write_json(session / "corrected_ground_truth.json", {"segments": [body, {**body, "reviewed": None}]})
    assert len(read_log(workspace)) == 2


def test_text_is_kept_as_typed(workspace: HablaWorkspace) -> None:
    typed = "  Que?  nin\u0303os…[risas]\t"
    write_corrections(write_session(workspace.recordings, A, 1), {1: typed})
    assert [event.text for event in read_log(workspace)] == [typed]


def test_a_save_without_changes_adds_nothing_and_a_change_adds_one_event(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 2)
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T09:00:00+00:00")
    assert collect(workspace).added == 2
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T10:00:00+00:00")
    assert collect(workspace).added == 0
    write_corrections(session, {1: "uno", 2: "doce"}, at="2026-02-23T11:00:00+00:00")
    assert collect(workspace).added == 1
    write_corrections(session, {1: "uno", 2: "dos"}, at="2026-02-23T12:00:00+00:00")
    assert collect(workspace).added == 1
    assert [event.text for event in read_log(workspace) if event.text != "uno"] == ["dos", "doce", "dos"]


def test_an_older_file_restored_from_a_backup_adds_nothing(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "viejo"}, at="2026-02-23T09:00:00+00:00")
    collect(workspace)
    write_corrections(session, {1: "nuevo"}, at="2026-02-23T10:00:00+00:00")
    collect(workspace)
    write_corrections(session, {1: "viejo"}, at="2026-02-23T09:00:00+00:00")
    assert collect(workspace).added == 0
    assert [event.text for event in read_log(workspace)] == ["viejo", "nuevo"]


def test_reading_the_same_files_again_publishes_the_same_log(workspace: HablaWorkspace) -> None:
    write_corrections(write_session(workspace.recordings, A, 2), {1: "uno", 2: "dos"})
    first = collect(workspace)
    assert (collect(workspace).parquet, collect(workspace).added) == (first.parquet, 0)


def test_events_stay_when_habla_deletes_the_session(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    collect(workspace)
    for path in session.iterdir():
        path.unlink()
    session.rmdir()
    write_corrections(write_session(workspace.recordings, B, 1), {1: "dos"})
    assert sorted(event.text for event in read_log(workspace)) == ["dos", "uno"]


def test_a_naive_time_is_in_the_configured_zone_and_a_missing_time_is_that_of_the_file(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"}, at="2026-07-01T12:00:00")
    assert read_log(workspace)[0].created_at == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
    other = write_session(workspace.recordings, B, 1)
    write_corrections(other, {1: "dos"}, at="")
    set_age(other, 1)
    [second] = [event for event in read_log(workspace) if event.text == "dos"]
    assert second.created_at == datetime(2026, 11, 20, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{oops", "not JSON"),
        ("[]", "expected an object"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": true}]}', "has no transcript"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": true, "transcript": 3}]}', "transcript of"),
        ('{"segments": [{"filename": "../../x.wav", "reviewed": true, "transcript": "x"}]}', "is no segment_"),
        ('{"segments": [{"filename": "segment_001.wav", "reviewed": "yes", "transcript": "x"}]}', "reviewed of"),
        ('{"direction": "en_to_es", "segments": []}', "English"),
    ],
)
def test_an_invalid_file_is_skipped_and_other_sessions_are_read(
    workspace: HablaWorkspace, content: str, reason: str
) -> None:
    (write_session(workspace.recordings, A, 1) / "corrected_ground_truth.json").write_text(content)
    write_corrections(write_session(workspace.recordings, B, 1), {1: "dos"})
    assert [event.text for event in read_log(workspace)] == ["dos"]
    assert any(each.session == A and reason in each.reason for each in list_skipped(workspace))
    write_corrections(workspace.recordings / A, {1: "uno"})
    assert sorted(event.text for event in read_log(workspace)) == ["dos", "uno"]
    assert list_skipped(workspace) == []


def test_a_stored_event_is_read_unchanged(workspace: HablaWorkspace) -> None:
    write_corrections(write_session(workspace.recordings, A, 1), {1: "uno"})
    [event] = read_log(workspace)
    again = AnnotationEvent(
        segment_id=segment_id(HABLA_SOURCE, A, "segment_001.wav"),
        session_id=A,
        day=DAY,
        text="uno",
        status="corrected",
        reason="",
        person="",
        source="habla",
        created_at=datetime(2026, 2, 23, 9, 12, 44, tzinfo=UTC),
        seen_text="texto 1",
        model_version="habla",
        is_blind=False,
    )
    assert (event, event.event_id) == (again, again.event_id)


def test_saves_in_any_order_and_layout_leave_the_log_unchanged(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 6)
    texts = {number: f"frase {number}" for number in range(1, 7)}
    path = session / "corrected_ground_truth.json"
    write_corrections(session, texts, confirmed=[2, 4])
    first = collect(workspace)
    assert (first.events, first.added) == (6, 6)
    for minute, (order, indent) in enumerate(
        [((6, 5, 4, 3, 2, 1), None), ((1, 2, 3, 4, 5, 6), 8), ((3, 1, 6, 2, 5, 4), 1)]
    ):
        write_corrections(session, {number: texts[number] for number in order}, confirmed=[4, 2])
        body = json.loads(path.read_text())
        path.write_text(json.dumps({"segments": body["segments"]}, indent=indent) + "\n" * minute)
        assert collect(workspace).added == 0
        body["corrected_at"] = f"2026-02-24T09:{minute:02d}:00+00:00"
        path.write_text(json.dumps(body, indent=indent, sort_keys=True))
        again = collect(workspace)
        assert (again.added, again.parquet) == (0, first.parquet)


def test_a_repeated_entry_counts_once_over_several_saves(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    path = session / "corrected_ground_truth.json"
    entry = json.loads(path.read_text())["segments"][0]
    for minute in range(4):
        body = {
            "corrected_at": f"2026-02-24T09:{minute:02d}:00+00:00",
            "segments": [{**entry, "transcript": "dos"}, {**entry, "transcript": "tres"}],
        }
        write_json(path, body)
        assert collect(workspace).added == (0 if minute else 1)
    assert [event.text for event in read_log(workspace)] == ["tres"]
    assert any("names segment_001.wav twice" in each.reason for each in list_skipped(workspace))


def test_a_confirmation_after_a_correction_is_a_new_event(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"}, at="2026-02-23T09:00:00+00:00")
    collect(workspace)
    write_corrections(session, {1: "uno"}, at="2026-02-23T10:00:00+00:00", confirmed=[1])
    assert collect(workspace).added == 1


def test_the_model_of_the_seen_text_is_read_from_ground_truth(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 3, entries={2: {"raw_transcript": None}})
    seen = {
        "whisper_model": "/models/large-v3",
        "segments": [{"filename": "segment_001.wav", "transcript": "visto"}],
    }
    write_json(session / "ground_truth.json", seen)
    write_corrections(session, {1: "uno", 2: "dos", 3: "tres"})
    found = {event.text: (event.seen_text, event.model_version) for event in read_log(workspace)}
    assert found == {"uno": ("visto", "habla:large-v3"), "dos": (None, ""), "tres": ("texto 3", "habla")}


def test_a_time_in_the_future_is_replaced_by_that_of_the_file(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"}, at="2099-01-01T00:00:00+00:00")
    set_age(session, 48)
    assert read_log(workspace)[0].created_at == datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
    assert any("in the future" in each.reason for each in list_skipped(workspace))


def test_a_log_without_later_columns_is_read_and_extended(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    now = collect(workspace)
    table = read_event_table(workspace.lake, now.parquet)
    old = io.BytesIO()
    before = table.drop_columns(["model_version", "round", "speaker"])
    pq.write_table(before, old)
    pointer = workspace.lake.read_pointer(f"annotations/{DAY}")
    assert pointer is not None
    value = {**pointer.value, "parquet": workspace.lake.put_bytes(old.getvalue()), "inputs": {}}
    workspace.lake.move_pointer(f"annotations/{DAY}", value, pointer)
    assert collect(workspace).added == 0
    [event] = read_log(workspace)
    assert (event.text, event.model_version, event.attempt) == ("uno", "", 0)
    write_corrections(session, {1: "dos"}, at="2026-03-01T00:00:00+00:00")
    assert collect(workspace).added == 1
    assert [each.model_version for each in read_log(workspace)] == ["", "habla"]


def test_an_event_without_later_columns_keeps_its_id() -> None:
    event = AnnotationEvent("s", "e", DAY, "t", "corrected", "", "p", "habla", datetime(2026, 1, 1, tzinfo=UTC), None)
    values = ["s", "e", DAY, "t", "corrected", "", "p", "habla", "2026-01-01T00:00:00+00:00", None]
    assert event.event_id == compute_digest(values)
    assert replace(event, model_version="v2").event_id == compute_digest([*values, "v2"])
    assert replace(event, speaker="v2").event_id == compute_digest([*values, ["speaker", "v2"]])


SAVE = st.permutations([1, 2, 3]).flatmap(
    lambda order: st.fixed_dictionaries({number: st.tuples(st.sampled_from("ab"), st.booleans()) for number in order})
)


@pytest.mark.long
@settings(max_examples=25)
@given(saves=st.lists(SAVE, min_size=1, max_size=6))
def test_each_change_adds_one_event(
    saves: list[dict[int, tuple[str, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = make_workspace(tmp_path_factory.mktemp("saves"))
    session = write_session(workspace.recordings, A, 3)
    last: dict[int, tuple[str, bool]] = {}
    changes = 0
    for minute, save in enumerate(saves):
        confirmed = [number for number, (_, is_confirmed) in save.items() if is_confirmed]
        texts = {number: text for number, (text, _) in save.items()}
        write_corrections(session, texts, at=f"2026-02-24T09:{minute:02d}:00+00:00", confirmed=confirmed)
        changed = sum(last.get(number) != answer for number, answer in save.items())
        last |= save
        changes += changed
        assert (collect(workspace).added, len(read_log(workspace))) == (changed, changes)
