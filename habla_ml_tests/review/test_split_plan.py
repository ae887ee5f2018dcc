"""The queue knows the splits: what people annotate is used, from the queue through the corpus to the splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.review_queue import ReviewItem, load_blind_requests, save_queue
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.planned_splits import bind_planned_sessions
from habla_ml.corpus.snapshot import Snapshot, Split, load_latest_snapshot, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.lake.table import read_table
from habla_ml.review.candidates import gather_pool
from habla_ml.review.queue import ReviewQueueResult, make_queue
from habla_ml.review.split_plan import plan_splits
from habla_ml.settings import Settings, SplitSettings
from habla_ml_tests.testing.recorded_days import (
    ANNOTATION_TIME,
    DAY,
    NEXT_DAY,
    SimulatedSegment,
    annotate,
    publish_recordings,
)
from habla_ml_tests.testing.released_models import make_review_settings

# The last sessions are the hardest, so that the queue prefers them.
CLASSROOM = [
    SimulatedSegment(f"s{session}", at, "SPEAKER_00", 1.0, text=f"frase {session} {at}", confidence=0.95 - session / 12)
    for session in range(10)
    for at in range(12)
]
MINUTES = 0.8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_review_settings(tmp_path, minutes=MINUTES, random_share=0.25, second_person_share=0.5)


@pytest.fixture
def classroom(lake: Lake, tmp_path: Path) -> Lake:
    publish_recordings(lake, DAY, CLASSROOM[:60], tmp_path)
    publish_recordings(lake, NEXT_DAY, CLASSROOM[60:], tmp_path)
    return lake


def queue_in(lake: Lake, settings: Settings) -> ReviewQueueResult:
    return make_queue(lake, DirectoryStore(settings.work_folder.parent / "cdn"), settings, ANNOTATION_TIME, print)


def answer(lake: Lake, items: Iterable[ReviewItem]) -> None:
    """Append what the people who work on these items type."""
    for item in items:
        for person in ("ana", "eva")[: max(1, item.blind_people)]:
            event = AnnotationEvent(
                segment_id=item.segment_id,
                session_id=item.session_id,
                day=item.day,
                text=f"lo que oye {person}",
                status="corrected",
                reason="",
                person=person,
                source="label_studio",
                created_at=ANNOTATION_TIME,
                seen_text=item.hint or None,
                is_blind=item.is_blind,
            )
            append_events(lake, item.day, [event], {})


def snapshot_of(lake: Lake, settings: Settings) -> Snapshot:
    conventions = load_conventions(settings.corpus.conventions)
    for day in (DAY, NEXT_DAY):
        build_day(lake, day, conventions, settings)
    return make_snapshot(lake, settings, conventions)


@pytest.mark.long
def test_no_chosen_minute_is_thrown_away_by_the_splits(classroom: Lake, settings: Settings) -> None:
    made = queue_in(classroom, settings)
    items = made.queue.items
    chosen = {each.segment_id for each in items if not each.is_random}
    drawn = {each.segment_id for each in items if each.is_random}
    assert made.wasted_minutes == 0
    assert chosen
    assert drawn
    answer(classroom, items)
    snapshot = snapshot_of(classroom, settings)
    assert set(snapshot.kept_out.values()) == {0}
    rows = {row["segment_id"]: row for row in read_table(classroom, snapshot.segments).to_pylist()}
    assert {rows[each]["split"] for each in chosen} == {"train"}
    assert {rows[each]["split"] for each in drawn} <= {"validation", "test"}
    assert {each for each, row in rows.items() if row["is_blind"]} == drawn
    assert {each.split for each in items if each.is_random} == {rows[each]["split"] for each in drawn}
    plan = plan_splits(classroom, settings).splits
    assert all(plan[each.session_id] == each.split for each in items)


@pytest.mark.long
def test_a_blind_reference_reaches_the_test_set(classroom: Lake, settings: Settings) -> None:
    made = queue_in(classroom, settings)
    answer(classroom, made.queue.items)
    snapshot = snapshot_of(classroom, settings)
    held_out = [
        each
        for split in ("validation", "test")
        for each in read_utterances(classroom, load_latest_snapshot(classroom), split)
    ]
    assert {each.segment_id for each in held_out if each.is_blind} == set(load_blind_requests(classroom))
    assert {each.sentence for each in held_out} == {"lo que oye ana"}
    assert not any(each.is_blind for each in read_utterances(classroom, snapshot, "train"))


def test_blind_items_have_no_text_and_some_are_for_two_people(classroom: Lake, settings: Settings) -> None:
    made = queue_in(classroom, settings)
    drawn = [each for each in made.queue.items if each.is_random]
    assert all(each.is_blind and (each.hint, each.model_version) == ("", "") for each in drawn)
    assert {each.blind_people for each in drawn} == {1, 2}
    assert sum(each.duration_s * each.blind_people for each in drawn) <= 60 * MINUTES * 0.25
    assert set(load_blind_requests(classroom)) == {each.segment_id for each in drawn}
    assert made.queue.minutes <= MINUTES
    shown = make_review_settings(settings.work_folder.parent, minutes=MINUTES, random_share=0.25, blind_share=0)
    again = queue_in(classroom, shown).queue.items
    assert not any(each.is_blind for each in again)
    assert all(each.hint for each in again)


def test_held_out_segments_are_neither_decoded_nor_chosen_and_sealed_ones_are_always_blind(
    classroom: Lake, settings: Settings
) -> None:
    splits = {f"s{at}": "train" for at in range(8)} | {"s8": "sealed", "s9": "test"}
    pool = gather_pool(classroom, settings, "2026-W07", splits)
    assert {each.session_id for each in pool.members} == {f"s{at}" for at in range(8)}
    assert {each.session_id for each in pool.held_out} == {"s8", "s9"}
    assert gather_pool(classroom, settings, "2026-W07", {}).members == ()


def test_a_segment_that_was_chosen_earlier_is_not_drawn_for_measuring(classroom: Lake, settings: Settings) -> None:
    splits = {"s9": "test"}
    before = gather_pool(classroom, settings, "2026-W07", splits).held_out
    item = queue_in(classroom, settings).queue.items[0]
    first = before[0]
    save_queue(
        classroom,
        [ReviewItem(first.segment_id, "s9", first.day, "", 1.0, "", "", 1.0, ("quiet: -40 dBFS",), is_random=False)],
        ANNOTATION_TIME,
    )
    assert item.segment_id != first.segment_id
    assert first.segment_id not in {each.segment_id for each in gather_pool(classroom, settings, "x", splits).held_out}


def test_the_plan_is_by_recorded_hours_and_keeps_what_is_decided(classroom: Lake, settings: Settings) -> None:
    annotate(classroom, DAY, CLASSROOM[:36])
    decided = snapshot_of(classroom, settings)
    ledger = {row["session_id"]: row["split"] for row in read_table(classroom, decided.segments).to_pylist()}
    plan = plan_splits(classroom, settings)
    assert set(plan.splits) == {each.session for each in CLASSROOM}
    assert {session: plan.splits[session] for session in ledger} == ledger
    assert set(plan.planned) == set(plan.splits) - set(ledger)
    assert sorted(plan.splits.values()).count("train") == 8
    queue_in(classroom, settings)
    publish_more = [SimulatedSegment("late", at, seconds=1.0) for at in range(12)]
    publish_recordings(classroom, "2026-02-04", publish_more, settings.work_folder.parent)
    after = plan_splits(classroom, settings).splits
    assert {session: after[session] for session in plan.splits} == dict(plan.splits)
    assert "late" in after


@pytest.mark.parametrize(
    ("sessions", "selected", "bound"),
    [
        ({"a", "c"}, {"a"}, {"a": "train"}),  # no validation yet: only a session with a chosen segment is bound
        ({"a", "b", "c", "d"}, {"a"}, {"a": "train", "b": "train", "c": "test", "d": "validation"}),
        ({"a", "b"}, set(), {}),
        ({"a", "x"}, {"a"}, {"a": "train"}),
    ],
)
def test_a_plan_never_leaves_a_corpus_without_a_test_set(
    sessions: set[str], selected: set[str], bound: dict[str, Split]
) -> None:
    planned: dict[str, Split] = {"a": "train", "b": "train", "c": "test", "d": "validation"}
    expected = {**bound, **({"c": "test"} if "c" in sessions else {})}
    assert bind_planned_sessions(planned, sessions, selected, {"x": "test"}, SplitSettings()) == expected
