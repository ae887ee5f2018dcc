"""A review that a person takes back in Habla."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources.habla import SOURCE
from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import build_day
from habla_ml.lake.table import read_table
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.review.candidates import gather_pool
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, HablaWorkspace, ingest_into, write_json
from habla_ml_tests.testing.habla_states import save_review, write_ground_truth, write_live_session

TEXTS = ["Hola a todos.", "Buenos días."]
FIRST, SECOND = (segment_id(HABLA_SOURCE, A, f"segment_00{number}.wav") for number in (1, 2))


def at_minute(minute: int) -> str:
    return f"2026-02-17T09:{minute:02d}:00.120394+00:00"


@pytest.fixture
def session(workspace: HablaWorkspace) -> Path:
    written = write_live_session(workspace.recordings, A, 2)
    write_ground_truth(written, TEXTS)
    save_review(written, TEXTS, {1, 2}, {2}, at=at_minute(1))
    ingest_into(workspace)
    assert read_answers(workspace) == [(FIRST, "confirmed"), (SECOND, "corrected")]
    return written


def read_answers(workspace: HablaWorkspace) -> list[tuple[str, str]]:
    """Read Habla's corrections and return the events of the day, by segment and time."""
    SOURCE.collect(SourceContext(workspace.lake, workspace.settings, NOW), DAY)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    order = {FIRST: 0, SECOND: 1}
    events = sorted(read_events(workspace.lake, log), key=lambda each: (order[each.segment_id], each.created_at))
    return [(each.segment_id, each.status) for each in events]


def read_corpus_texts(workspace: HablaWorkspace) -> list[str]:
    day = build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    return sorted(row["text"] for row in read_table(workspace.lake, day.parquet, ["text"]).to_pylist())


def add_answer(workspace: HablaWorkspace, minute: int, text: str) -> None:
    """Append an answer of another source for the first segment."""
    moment = datetime(2026, 2, 17, 9, minute, tzinfo=UTC)
    event = AnnotationEvent(FIRST, A, DAY, text, "corrected", "", "ana", "label_studio:1", moment, None)
    append_events(workspace.lake, DAY, [event], {})


def test_a_confirmation_that_is_taken_back_leaves_the_corpus_and_comes_back(
    workspace: HablaWorkspace, session: Path
) -> None:
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola a todos."]
    save_review(session, TEXTS, {2}, {2}, at=at_minute(2))
    answers = [(FIRST, "confirmed"), (FIRST, "withdrawn"), (SECOND, "corrected")]
    assert read_answers(workspace) == answers
    assert read_corpus_texts(workspace) == ["Buenos días."]
    pool = gather_pool(workspace.lake, workspace.settings, "2026-W08")
    assert [each.segment_id for each in pool.members] == [FIRST]
    save_review(session, TEXTS, {2}, {2}, at=at_minute(3))  # a save without changes
    assert read_answers(workspace) == answers
    save_review(session, TEXTS, {1, 2}, {2}, at=at_minute(4))
    assert read_answers(workspace) == [*answers[:2], (FIRST, "confirmed"), answers[2]]
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola a todos."]


def test_a_correction_that_is_taken_back_is_withdrawn_too(workspace: HablaWorkspace, session: Path) -> None:
    save_review(session, TEXTS, {1}, at=at_minute(2))
    assert read_answers(workspace)[1:] == [(SECOND, "corrected"), (SECOND, "withdrawn")]
    assert read_corpus_texts(workspace) == ["Hola a todos."]


def test_a_missing_entry_file_or_session_withdraws_nothing(workspace: HablaWorkspace, session: Path) -> None:
    answers = read_answers(workspace)
    save_review(session, TEXTS[:1], {1}, at=at_minute(2))
    assert read_answers(workspace) == answers
    (session / "corrected_ground_truth.json").write_bytes(b'{"segments": [')
    assert read_answers(workspace) == answers
    (session / "corrected_ground_truth.json").unlink()
    assert read_answers(workspace) == answers
    shutil.rmtree(session)
    assert read_answers(workspace) == answers
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola a todos."]


@pytest.mark.parametrize("value", [None, 0, "false", [], ...])
def test_only_false_withdraws(workspace: HablaWorkspace, session: Path, value: Any) -> None:
    answers = read_answers(workspace)
    entry = {"filename": "segment_001.wav", "transcript": TEXTS[0]} | ({} if value is ... else {"reviewed": value})
    write_json(session / "corrected_ground_truth.json", {"corrected_at": at_minute(2), "segments": [entry]})
    assert read_answers(workspace) == answers


def test_a_restored_older_save_does_not_withdraw_a_later_answer(workspace: HablaWorkspace, session: Path) -> None:
    answers = read_answers(workspace)
    save_review(session, TEXTS, set(), at=at_minute(0))
    assert read_answers(workspace) == answers


def test_a_save_edited_by_hand_with_the_same_time_withdraws(workspace: HablaWorkspace, session: Path) -> None:
    save_review(session, TEXTS, {2}, {2}, at=at_minute(1))
    read_answers(workspace)
    assert read_corpus_texts(workspace) == ["Buenos días."]


def test_a_withdrawal_leaves_the_answers_of_other_sources(workspace: HablaWorkspace, session: Path) -> None:
    add_answer(workspace, 0, "Hola a todas.")
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola a todos."]
    save_review(session, TEXTS, {2}, {2}, at=at_minute(2))
    read_answers(workspace)
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola a todas."]
    agreement = measure_agreement(workspace.lake, workspace.conventions, lambda one, other: (one, other))
    assert agreement.comparisons == 0
    add_answer(workspace, 3, "Hola, todas.")
    assert read_corpus_texts(workspace) == ["Buenos días.", "Hola, todas."]


def test_unreviewed_machine_text_is_no_event(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, A, 2)
    save_review(session, TEXTS, set(), at=at_minute(1))
    assert read_answers(workspace) == []
    save_review(session, TEXTS, set(), at=at_minute(2))
    assert read_answers(workspace) == []
