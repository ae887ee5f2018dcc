"""A day's text lists what breaks the conventions, counts it, and hands it back for review."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import CorpusDay, build_day, load_corpus_day
from habla_ml.corpus.violations import ViolatingSegment, find_violating_segments, read_violations
from habla_ml.lake import catalogue
from habla_ml.lake.table import read_table
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.corrected_days import CONVENTIONS_V3, MONDAY, TUESDAY, A, create_annotated_lake
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, write_corrections, write_session

TYPED = {1: "Que  hora es?", 2: "¿Qué hora es?", 3: "Son las 3.", 4: "Son las 4.", 5: "3"}


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    made = create_annotated_lake(tmp_path, TYPED, "Sí.")
    verdict = AnnotationEvent(
        segment_id=segment_id(HABLA_SOURCE, A, "segment_004.wav"),
        session_id=A,
        day=MONDAY,
        text="Son las 4.",
        status="unusable",
        reason="ruido",
        person="",
        source="habla",
        created_at=NOW,
        seen_text=None,
    )
    append_events(made.lake, MONDAY, [verdict], {})
    return made


def build(workspace: HablaWorkspace, day: str = MONDAY) -> CorpusDay:
    return build_day(workspace.lake, day, CONVENTIONS_V3, workspace.settings)


def test_violations_are_recorded_and_counted_and_do_not_change_the_text(workspace: HablaWorkspace) -> None:
    day = build(workspace)
    rows = read_table(workspace.lake, day.parquet).to_pylist()
    assert [(row["text"], row["sentence"], row["problem"], row["violations"]) for row in rows] == [
        ("Que  hora es?", "Que hora es?", None, ["doubled spaces", "question without ¿"]),
        ("¿Qué hora es?", "¿Qué hora es?", None, []),
        ("Son las 3.", "Son las 3.", None, ["digits"]),
        ("Son las 4.", "Son las 4.", "unusable", []),
        ("3", "3", None, ["digits"]),
    ]
    assert day.violations == {"digits": 2, "doubled spaces": 1, "question without ¿": 1}
    assert day.counts["usable"] == 4


def test_violating_segments_of_all_days_are_found_for_review(workspace: HablaWorkspace) -> None:
    for day in (MONDAY, TUESDAY):
        build(workspace, day)
    found = list(find_violating_segments(workspace.lake))
    assert [(each.day, each.file_name, each.violations) for each in found] == [
        (MONDAY, "segment_001.wav", ("doubled spaces", "question without ¿")),
        (MONDAY, "segment_003.wav", ("digits",)),
        (MONDAY, "segment_005.wav", ("digits",)),
    ]
    first = segment_id(HABLA_SOURCE, A, "segment_001.wav")
    violations = found[0].violations
    assert found[0] == ViolatingSegment(
        first, A, MONDAY, "segment_001.wav", "Que  hora es?", CONVENTIONS_V3.digest, violations, ()
    )
    monday = load_corpus_day(workspace.lake, MONDAY)
    assert monday is not None
    assert read_violations(workspace.lake, monday, most=1) == (found[0],)


def test_days_without_violations_are_not_opened(workspace: HablaWorkspace) -> None:
    tuesday = build(workspace, TUESDAY)
    (workspace.root / "lake" / "objects" / tuesday.parquet[:2] / tuesday.parquet).unlink()
    assert list(find_violating_segments(workspace.lake)) == []


def test_days_of_builders_without_requirements_are_read_and_rewritten(workspace: HablaWorkspace) -> None:
    day = build(workspace)
    pointer = workspace.lake.read_pointer(catalogue.CORPUS.name(MONDAY))
    assert pointer is not None
    old = {key: value for key, value in pointer.value.items() if key != "violations"} | {"inputs": "of before"}
    workspace.lake.move_pointer(catalogue.CORPUS.name(MONDAY), old, pointer)
    assert list(find_violating_segments(workspace.lake)) == []
    assert build(workspace) == day


def test_a_repeated_text_gets_the_problem_of_each_segment(workspace: HablaWorkspace) -> None:
    write_corrections(
        write_session(workspace.recordings, A, 6), dict.fromkeys(range(1, 7), "Son 3."), at="2026-12-01T00:00:00Z"
    )
    collect_events(workspace.lake, MONDAY, workspace.settings, NOW)
    day = build(workspace)
    assert day.violations == {"digits": day.counts["annotated"]} == {"digits": 6}
