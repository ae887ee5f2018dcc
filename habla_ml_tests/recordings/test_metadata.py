"""Valid and invalid JSON of Habla."""

from __future__ import annotations

import math
import resource
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from habla_ml.recordings.metadata import SessionHints, read_hints
from habla_ml.recordings.sessions import scan_sessions
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, ingest_into, write_json, write_session
from habla_ml_tests.testing.habla_states import write_ground_truth, write_live_session

NAME = "12345_20260216_143022"


def read_session_hints(workspace: HablaWorkspace) -> SessionHints:
    session = scan_sessions(workspace.recordings, workspace.settings, NOW).sessions[0]
    return read_hints(session, workspace.settings.zone)


def join_problem_reasons(found: SessionHints) -> str:
    return "; ".join(f"{each.file}: {each.reason}" for each in found.problems)


def test_hints_are_keyed_by_file_name(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, NAME, 2, entries={1: {"segment_id": 7, "speaker": "Marta"}})
    found = read_session_hints(workspace)
    first = found.by_file["segment_001.wav"]
    assert (first.speaker, first.text, first.confidence) == ("Marta", "texto 1", 0.9)
    assert first.recorded_at == datetime(2026, 2, 16, 13, 30, 1, 500_000, tzinfo=UTC)
    assert found.problems == ()
    assert not found.is_english


def read_statuses(workspace: HablaWorkspace) -> list[str | None]:
    return [each.asr_status for _, each in sorted(read_session_hints(workspace).by_file.items())]


def test_a_session_in_which_every_segment_is_rejected_shows_no_rejection(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, NAME, 3)
    assert read_statuses(workspace) == [None, None, None]
    write_ground_truth(session, ["Hola.", "[inaudible]", "Vale."])
    found = read_session_hints(workspace)
    assert [each.text for each in found.by_file.values()] == ["Hola.", "[inaudible]", "Vale."]
    assert read_statuses(workspace) == [None, None, None]
    assert found.problems == ()


def test_a_rejection_beside_transcribed_segments_is_one_until_a_text_exists(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, NAME, 3, texts={2: "texto"})
    assert read_statuses(workspace) == ["rejected", "accepted", "rejected"]
    first = read_session_hints(workspace).by_file["segment_001.wav"]
    assert (first.text, first.speaker, first.confidence) == (None, None, None)
    write_ground_truth(session, ["Hola.", "texto", "[inaudible]"])
    assert read_statuses(workspace) == [None, "accepted", "rejected"]


def test_a_confidence_of_0_of_the_larger_model_is_not_measured(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, NAME, 3, texts={2: "texto"})
    write_ground_truth(session, ["Hola.", "Texto.", "[inaudible]"])
    assert [each.confidence for each in read_session_hints(workspace).by_file.values()] == [None, 0.35, None]
    write_ground_truth(session, ["Hola.", "Texto.", "[inaudible]"], [-0.5, -0.25, 0])
    measured = [each.confidence for each in read_session_hints(workspace).by_file.values()]
    assert measured == [pytest.approx(math.exp(-0.5), abs=1e-6), pytest.approx(math.exp(-0.25), abs=1e-6), None]


def test_a_confidence_without_a_text_of_the_larger_model_is_ignored(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, NAME, 1, texts={1: "texto"})
    write_json(session / "ground_truth.json", {"segments": [{"filename": "segment_001.wav", "confidence": -0.1}]})
    assert read_session_hints(workspace).by_file["segment_001.wav"].confidence == 0.35


def test_the_text_of_the_larger_model_wins_with_its_confidence_as_a_probability(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, NAME, 2)
    write_json(
        session / "ground_truth.json",
        {
            "direction": "es_to_en",
            "segments": [{"filename": "segment_001.wav", "transcript": "Hola.", "confidence": -0.213}],
        },
    )
    found = read_session_hints(workspace)
    assert found.by_file["segment_001.wav"].text == "Hola."
    assert found.by_file["segment_001.wav"].confidence == pytest.approx(math.exp(-0.213), abs=1e-6)
    assert found.by_file["segment_001.wav"].speaker == "Speaker A"
    assert found.by_file["segment_002.wav"].text == "texto 2"
    assert found.direction == "es_to_en"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{not json", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "contains list, expected an object"),
        (b"{}", "segments is NoneType"),
        (b'{"segments": 3}', "segments is int"),
        (b'{"segments": [7, {"speaker": "x"}, {"filename": 3}]}', "entry 3 of segments names no file"),
    ],
)
def test_broken_metadata_is_a_problem_and_not_an_error(workspace: HablaWorkspace, content: bytes, reason: str) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    (session / "metadata.json").write_bytes(content)
    assert reason in join_problem_reasons(read_session_hints(workspace))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("speaker", 7, "key speaker of segment_001.wav is int"),
        ("confidence", "high", "key confidence of segment_001.wav is str"),
        ("confidence", True, "not a finite number"),
        ("confidence", 10**400, "not a finite number"),
        ("confidence", 1.5, "confidence of segment_001.wav is 1.5, expected a number of 0 to 1"),
        ("recorded_at", "yesterday", "expected a time like"),
        ("recorded_at", "0001-01-01T00:00:00", "year 1"),
        ("raw_transcript", "\ud800", "not valid Unicode"),
    ],
)
def test_a_value_of_a_wrong_type_counts_as_missing(
    workspace: HablaWorkspace, key: str, value: Any, reason: str
) -> None:
    write_session(workspace.recordings, NAME, 1, entries={1: {key: value}})
    found = read_session_hints(workspace)
    assert reason in join_problem_reasons(found)
    entry = found.by_file["segment_001.wav"]
    missing = [entry.speaker, entry.text, entry.confidence, entry.recorded_at].count(None)
    assert missing == 1


def test_not_a_number_in_json_counts_as_missing(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    (session / "metadata.json").write_text('{"segments": [{"filename": "segment_001.wav", "confidence": NaN}]}')
    assert read_session_hints(workspace).by_file["segment_001.wav"].confidence is None


def test_segments_without_a_file_are_reported(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, NAME, 2)
    (session / "segment_002.wav").unlink()
    assert [each.file for each in read_session_hints(workspace).problems] == ["segment_002.wav"]


def test_the_direction_marks_an_english_session(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    write_json(session / "ground_truth.json", {"direction": "en_to_es", "segments": []})
    assert read_session_hints(workspace).is_english


@pytest.mark.long
def test_problems_beyond_the_first_20_of_a_file_are_counted(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    missing = [{"filename": f"segment_{number:05d}.wav"} for number in range(2, 10_002)]
    write_json(session / "metadata.json", {"segments": [{"filename": "segment_001.wav"}, *missing, *[{}] * 9_000]})
    problems = read_session_hints(workspace).problems
    reasons = [each.reason for each in problems]
    assert len(reasons) == 2 * 21
    assert "and 8,980 more problems like these" in reasons
    assert "and 9,980 more problems in other files of the session" in reasons


def test_a_file_with_too_many_segments_gives_no_hints(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    write_json(session / "metadata.json", {"segments": [{"filename": "segment_001.wav"}] * 20_001})
    found = read_session_hints(workspace)
    assert found.by_file == {}
    assert "has 20,001 segments, more than the 20,000 allowed" in join_problem_reasons(found)


@pytest.mark.long
@pytest.mark.parametrize("entry", [b"{}", b'{"filename":"segment_002.wav","speaker":1}'])
def test_a_bomb_in_metadata_costs_little_and_the_audio_is_read(workspace: HablaWorkspace, entry: bytes) -> None:
    session = write_session(workspace.recordings, NAME, 1)
    (session / "metadata.json").write_bytes(b'{"segments":[' + b",".join([entry] * (24_000_000 // len(entry))) + b"]}")
    started_s, memory_kb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    day = ingest_into(workspace)
    assert (day.segments, len(day.skipped_inputs)) == (1, 1)
    assert time.process_time() - started_s < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 400_000
