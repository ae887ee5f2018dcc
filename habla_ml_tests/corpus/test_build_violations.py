"""A day's text lists what breaks the conventions, counts it, and hands it back for review."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from habla_ml.annotation import AnnotationEvent, append_events, collect_events
from habla_ml.corpus.build import DayOfCorpus, build_day, load_corpus
from habla_ml.corpus.violations import ViolatingSegment, read_violations, violating_segments
from habla_ml.lake import catalogue
from habla_ml.recordings import HABLA, segment_id
from habla_ml_tests.corpus.typed_days import MONDAY, THREE, TUESDAY, A, type_two_days
from habla_ml_tests.recordings.world import NOW, World, write_corrections, write_session

TYPED = {1: "Que  hora es?", 2: "¿Qué hora es?", 3: "Son las 3.", 4: "Son las 4.", 5: "3"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = type_two_days(tmp_path, TYPED, "Sí.")
    verdict = AnnotationEvent(
        segment_id=segment_id(HABLA, A, "segment_004.wav"),
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


def build(world: World, day: str = MONDAY) -> DayOfCorpus:
    return build_day(world.lake, day, THREE, world.settings)


def test_violations_stand_beside_the_text_are_counted_and_change_nothing(world: World) -> None:
    day = build(world)
    rows = pq.read_table(io.BytesIO(world.lake.get_bytes(day.parquet))).to_pylist()
    assert [(row["text"], row["sentence"], row["problem"], row["violations"]) for row in rows] == [
        ("Que  hora es?", "Que hora es?", None, ["doubled spaces", "question without ¿"]),
        ("¿Qué hora es?", "¿Qué hora es?", None, []),
        ("Son las 3.", "Son las 3.", None, ["digits"]),
        ("Son las 4.", "Son las 4.", "unusable", []),
        ("3", "3", None, ["digits"]),
    ]
    assert day.violations == {"digits": 2, "doubled spaces": 1, "question without ¿": 1}
    assert day.counts["usable"] == 4


def test_violating_segments_of_all_days_can_be_sent_back_for_review(world: World) -> None:
    for day in (MONDAY, TUESDAY):
        build(world, day)
    found = list(violating_segments(world.lake))
    assert [(each.day, each.file_name, each.violations) for each in found] == [
        (MONDAY, "segment_001.wav", ("doubled spaces", "question without ¿")),
        (MONDAY, "segment_003.wav", ("digits",)),
        (MONDAY, "segment_005.wav", ("digits",)),
    ]
    first = segment_id(HABLA, A, "segment_001.wav")
    violations = found[0].violations
    assert found[0] == ViolatingSegment(
        first, A, MONDAY, "segment_001.wav", "Que  hora es?", THREE.digest, violations, ()
    )
    monday = load_corpus(world.lake, MONDAY)
    assert monday is not None
    assert read_violations(world.lake, monday, most=1) == (found[0],)


def test_days_without_violations_are_not_opened(world: World) -> None:
    tuesday = build(world, TUESDAY)
    (world.root / "lake" / "objects" / tuesday.parquet[:2] / tuesday.parquet).unlink()
    assert list(violating_segments(world.lake)) == []


def test_days_written_before_there_were_requirements_are_read_and_rewritten(world: World) -> None:
    day = build(world)
    pointer = world.lake.pointer(catalogue.CORPUS.name(MONDAY))
    assert pointer is not None
    old = {key: value for key, value in pointer.value.items() if key != "violations"} | {"inputs": "of before"}
    world.lake.move_pointer(catalogue.CORPUS.name(MONDAY), old, pointer)
    assert list(violating_segments(world.lake)) == []
    assert build(world) == day


def test_a_text_said_on_many_segments_gets_each_segments_own_verdict(world: World) -> None:
    write_corrections(
        write_session(world.recordings, A, 6), dict.fromkeys(range(1, 7), "Son 3."), at="2026-12-01T00:00:00Z"
    )
    collect_events(world.recordings, MONDAY, world.lake, world.settings, NOW)
    day = build(world)
    assert day.violations == {"digits": day.counts["annotated"]} == {"digits": 6}
