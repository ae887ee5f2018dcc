"""A day's text: the newest word of a person, under the conventions, without touching audio."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import CORPUS_SCHEMA, CorpusDay, build_day, read_text_problems
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.hours import corpus_hours
from habla_ml.errors import CorpusError
from habla_ml.lake.table import read_table
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.corrected_days import list_outdated_days
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    V2,
    A,
    B,
    HablaWorkspace,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)


def ingest(workspace: HablaWorkspace) -> None:
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    collect_events(workspace.lake, DAY, workspace.settings, NOW)


def build(workspace: HablaWorkspace) -> CorpusDay:
    return build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)


def read_corpus_rows(workspace: HablaWorkspace, day: CorpusDay) -> list[dict[str, Any]]:
    table = read_table(workspace.lake, day.parquet)
    assert table.schema.equals(CORPUS_SCHEMA)
    return list(table.to_pylist())


def make_habla_event(number: int, text: str, **changes: Any) -> AnnotationEvent:
    made = AnnotationEvent(
        segment_id=segment_id(HABLA_SOURCE, A, f"segment_{number:03d}.wav"),
        session_id=A,
        day=DAY,
        text=text,
        status="corrected",
        reason="",
        person="",
        source="habla",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        seen_text=None,
    )
    return replace(made, **changes)


def test_the_corpus_has_the_text_of_people_and_never_of_machines(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 3)
    write_corrections(session, {1: " Hola...  niños ", 3: "texto 3"}, confirmed=[3])
    ingest(workspace)
    day = build(workspace)
    found = read_corpus_rows(workspace, day)
    assert [(row["file_name"], row["text"], row["sentence"], row["status"]) for row in found] == [
        ("segment_001.wav", " Hola...  niños ", "Hola… niños", "corrected"),
        ("segment_003.wav", "texto 3", "texto 3", "confirmed"),
    ]
    assert found[0]["speaker"] == "Speaker A"
    assert day.counts == {
        "segments": 3,
        "annotated": 2,
        "usable": 2,
        "corrected": 1,
        "confirmed": 1,
        "unusable": 0,
        "without_recording": 0,
    }
    assert day.hours == pytest.approx(0.8 / 3600, abs=1e-9)
    assert corpus_hours(workspace.lake) == day.hours


def test_unchanged_inputs_cause_no_work_and_a_new_correction_does(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    ingest(workspace)
    first = build(workspace)
    pointer = workspace.root / "lake" / "pointers" / "corpus" / f"{DAY}.json"
    before = pointer.stat().st_mtime_ns
    assert build(workspace) == first
    assert pointer.stat().st_mtime_ns == before
    write_corrections(session, {1: "dos"}, at="2026-04-01T00:00:00+00:00")
    ingest(workspace)
    assert read_corpus_rows(workspace, build(workspace))[0]["sentence"] == "dos"


def test_the_newest_event_decides_and_the_larger_id_of_two_at_the_same_instant(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 2)
    ingest(workspace)
    later = datetime(2026, 3, 2, tzinfo=UTC)
    events = [
        make_habla_event(1, "nuevo", created_at=later, person="ana"),
        make_habla_event(1, "viejo", created_at=later - timedelta(days=9), person="eva"),
        make_habla_event(2, "a", person="ana"),
        make_habla_event(2, "b", person="eva"),
    ]
    append_events(workspace.lake, DAY, events, {})
    found = read_corpus_rows(workspace, build(workspace))
    larger = max(events[2:], key=lambda each: each.event_id)
    assert [row["sentence"] for row in found] == ["nuevo", larger.text]


def test_the_newest_named_speaker_replaces_the_recordings_label(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 2)
    ingest(workspace)
    later = datetime(2026, 3, 2, tzinfo=UTC)
    events = [
        make_habla_event(1, "uno", source="page", person="ana", speaker="c-017"),
        make_habla_event(1, "uno", source="page", person="eva", speaker="c-018", created_at=later),
        make_habla_event(1, "otro", created_at=later + timedelta(days=1)),
        make_habla_event(2, "dos"),
    ]
    append_events(workspace.lake, DAY, events, {})
    rows = read_corpus_rows(workspace, build(workspace))
    assert [(row["speaker"], row["sentence"]) for row in rows] == [("c-018", "otro"), ("Speaker A", "dos")]


def test_a_speaker_that_its_author_took_back_does_not_count(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 1)
    ingest(workspace)
    later = datetime(2026, 3, 2, tzinfo=UTC)
    page = {"source": "page", "person": "ana"}
    events = [
        make_habla_event(1, "uno"),
        make_habla_event(1, "dos", speaker="c-017", **page),
        make_habla_event(1, "", status="withdrawn", created_at=later, **page),
    ]
    append_events(workspace.lake, DAY, events, {})
    (row,) = read_corpus_rows(workspace, build(workspace))
    assert (row["speaker"], row["sentence"]) == ("Speaker A", "uno")


def test_a_later_unusable_event_excludes_the_segment(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 1)
    ingest(workspace)
    append_events(workspace.lake, DAY, [make_habla_event(1, "uno")], {})
    assert build(workspace).counts["usable"] == 1
    later = make_habla_event(1, "uno", status="unusable", reason="ruido", created_at=NOW)
    append_events(workspace.lake, DAY, [later], {})
    day = build(workspace)
    assert (day.counts["usable"], day.counts["unusable"], day.problems, day.hours) == (0, 1, {"unusable": 1}, 0.0)


@pytest.mark.parametrize("unusable_first", [True, False])
def test_of_a_text_and_an_unusable_by_two_people_the_newer_decides(
    workspace: HablaWorkspace, unusable_first: bool
) -> None:
    write_session(workspace.recordings, A, 1)
    ingest(workspace)
    then = datetime(2026, 3, 1, tzinfo=UTC)
    text = make_habla_event(1, "uno", person="ana", created_at=then + timedelta(hours=unusable_first))
    unusable = make_habla_event(
        1,
        "",
        status="unusable",
        reason="ruido",
        person="eva",
        created_at=then + timedelta(hours=not unusable_first),
    )
    append_events(workspace.lake, DAY, [unusable], {})
    append_events(workspace.lake, DAY, [text], {})
    counts = build(workspace).counts
    assert (counts["annotated"], counts["usable"]) == (1, 1 if unusable_first else 0)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    assert {each.person for each in read_events(workspace.lake, log)} == {"ana", "eva"}


def test_a_text_and_an_unusable_at_the_same_instant_are_decided_by_event_id_in_any_order(
    workspace: HablaWorkspace,
) -> None:
    write_session(workspace.recordings, A, 1)
    ingest(workspace)
    text, unusable = (
        make_habla_event(1, "uno", person="ana"),
        make_habla_event(1, "", status="unusable", person="eva"),
    )
    append_events(workspace.lake, DAY, [unusable], {})
    append_events(workspace.lake, DAY, [text], {})
    winner = max((text, unusable), key=lambda each: each.event_id)
    assert [row["status"] for row in read_corpus_rows(workspace, build(workspace))] == [winner.status]


def test_unusable_texts_have_a_problem_and_add_no_hours(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 9, seconds=1.0)
    write_wav(session / "segment_008.wav", np.zeros(16_000, dtype=np.int16))
    write_wav(session / "segment_009.wav", make_noise(10))
    texts = {
        1: "Hola.",
        2: "",
        3: "[noise]",
        4: "a" * 400,
        5: "una palabra tras otra sin parar nunca jamás",
        6: "Hola [inaudible]",
        7: "Hola [risas]",
        8: "Hola",
        9: "Sí",
    }
    write_corrections(session, texts)
    ingest(workspace)
    day = build(workspace)
    assert {each.file_name: each.problem for each in read_text_problems(workspace.lake, day)} == {
        "segment_002.wav": "empty",
        "segment_003.wav": "only markers",
        "segment_004.wav": "too long",
        "segment_005.wav": "too fast",
        "segment_006.wav": "words missing",
        "segment_007.wav": "unknown marker",
        "segment_008.wav": "digital silence",
        "segment_009.wav": "too slow",
    }
    assert sum(day.problems.values()) == 8
    assert day.hours == pytest.approx(1 / 3600, abs=1e-9)
    assert len(read_text_problems(workspace.lake, day, most=3)) == 3


def test_a_correction_of_a_skipped_segment_is_counted_and_used_once_the_audio_is_valid(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 2)
    whole = (session / "segment_002.wav").read_bytes()
    (session / "segment_002.wav").write_bytes(whole[:-10])
    write_corrections(session, {1: "uno", 2: "dos"})
    ingest(workspace)
    day = build(workspace)
    assert (day.counts["annotated"], day.counts["without_recording"]) == (1, 1)
    (session / "segment_002.wav").write_bytes(whole)
    ingest(workspace)
    assert build(workspace).counts["annotated"] == 2


def test_other_conventions_rewrite_the_text_without_reading_audio(workspace: HablaWorkspace) -> None:
    write_corrections(write_session(workspace.recordings, A, 1), {1: "Eh... uno"})
    ingest(workspace)
    first = build(workspace)
    (workspace.root / "lake" / "objects" / first.recordings[:2] / first.recordings).unlink()
    two = build_day(workspace.lake, DAY, load_conventions(V2), workspace.settings)
    assert [read_corpus_rows(workspace, day)[0]["sentence"] for day in (first, two)] == ["Eh… uno", "uno"]
    assert [read_corpus_rows(workspace, day)[0]["text"] for day in (first, two)] == ["Eh... uno"] * 2
    assert two.conventions_digest != first.conventions_digest


def test_a_day_without_recordings_is_refused_and_one_without_corrections_is_empty(
    workspace: HablaWorkspace,
) -> None:
    with pytest.raises(CorpusError, match="materialise raw_recordings"):
        build(workspace)
    write_session(workspace.recordings, A, 1)
    ingest(workspace)
    day = build(workspace)
    assert (read_corpus_rows(workspace, day), day.counts["segments"], day.hours) == ([], 1, 0.0)


def test_a_day_is_outdated_until_its_text_is_built_and_again_after_each_change(workspace: HablaWorkspace) -> None:
    def list_outdated() -> dict[str, str]:
        changed = list_outdated_days(workspace)
        return {each.day: each.fingerprint for each in changed}

    session = write_session(workspace.recordings, A, 1)
    write_corrections(session, {1: "uno"})
    assert list_outdated() == {}  # the day has no recordings yet
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    first = list_outdated()
    assert list(first) == [DAY]
    ingest(workspace)
    assert list(list_outdated()) == [DAY]  # events collected, text not built
    build(workspace)
    assert list_outdated() == {}
    write_corrections(session, {1: "uno dos"}, at="2026-04-01T00:00:00+00:00")
    second = list_outdated()
    assert second[DAY] != first[DAY]
    ingest(workspace)
    build(workspace)
    write_session(workspace.recordings, B, 1)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    assert list(list_outdated()) == [DAY]


def test_a_table_is_imported_with_the_newest_day_and_its_days_follow(tmp_path: Path) -> None:
    table = tmp_path / "fine_tune_dataset.csv"
    table.write_text(f"audio_path,transcript\n{A}/segment_001.wav,Hola.\n")
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    write_session(workspace.recordings, A, 1)
    newest = "33333_20260217_090000"
    write_session(workspace.recordings, newest, 1)
    for day in (DAY, "2026-02-17"):
        ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
    built = []
    for _ in range(3):
        for changed in list_outdated_days(workspace):
            built.append(changed.day)
            collect_events(workspace.lake, changed.day, workspace.settings, NOW)
            build_day(workspace.lake, changed.day, workspace.conventions, workspace.settings)
    assert built == ["2026-02-17", DAY]
    assert corpus_hours(workspace.lake) == pytest.approx(0.4 / 3600, abs=1e-9)
