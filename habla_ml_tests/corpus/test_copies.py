"""A session whose folder was copied counts once: in hours, in the splits and as a cluster."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources.habla import SOURCE
from habla_ml.consent.register import Contributor
from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import CorpusDay, build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.copies import find_copied_sessions, rank_copies
from habla_ml.corpus.hours import corpus_hours
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.corpus.split_ledger import load_ledger
from habla_ml.corpus.splits import make_snapshot
from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.lake import Lake
from habla_ml.lake.database import open_scratch_database
from habla_ml.lake.table import read_table
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.habla_sessions import DAY, NOW, V1, A, HablaWorkspace, ingest_into, make_workspace
from habla_ml_tests.testing.habla_states import copy_session, save_review, write_live_session
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS = load_conventions(V1)
TEXTS = ["Hola a todos.", "Buenos días.", "Hasta luego."]
SAME_DAY, NEXT_DAY = "11111-copia_20260216_090000", "11111_20260217_090000"
TUESDAY = "2026-02-17"
SEGMENT_H = 0.4 / 3600


def build_all(workspace: HablaWorkspace) -> list[CorpusDay]:
    """Ingest both days, read their corrections and build the text."""
    built = []
    for day in (DAY, TUESDAY):
        ingest_into(workspace, day)
        SOURCE.collect(SourceContext(workspace.lake, workspace.settings, NOW), day)
        built.append(build_day(workspace.lake, day, workspace.conventions, workspace.settings))
    return built


def snapshot(workspace: HablaWorkspace) -> Snapshot:
    return make_snapshot(workspace.lake, workspace.settings, workspace.conventions)


@pytest.fixture
def session(workspace: HablaWorkspace) -> Path:
    written = write_live_session(workspace.recordings, A, 3, seed=1)
    save_review(written, TEXTS, {1, 2}, at="2026-02-18T09:00:00+00:00")
    for number in range(2, 8):
        other = write_live_session(workspace.recordings, f"{number}_20260216_1{number}0000", 3, seed=number)
        save_review(other, TEXTS, {1, 2}, at="2026-02-18T09:00:00+00:00")
    return written


def test_the_hours_of_a_copied_session_count_once(workspace: HablaWorkspace, session: Path) -> None:
    build_all(workspace)
    before = corpus_hours(workspace.lake)
    assert before == pytest.approx(14 * SEGMENT_H, abs=1e-8)
    for name in (SAME_DAY, NEXT_DAY):
        copy_session(session, name)
    monday, tuesday = build_all(workspace)
    assert (monday.counts["usable"], monday.hours) == (16, pytest.approx(before, abs=1e-8))
    assert (tuesday.counts["usable"], tuesday.hours) == (2, pytest.approx(2 * SEGMENT_H, abs=1e-8))
    assert corpus_hours(workspace.lake) == before
    shutil.rmtree(workspace.root / "lake" / "objects")
    assert corpus_hours(workspace.lake) == before  # an unchanged corpus needs no object


def test_hours_follow_each_change_of_a_day(workspace: HablaWorkspace, session: Path) -> None:
    copy = copy_session(session, NEXT_DAY)
    build_all(workspace)
    both = corpus_hours(workspace.lake)
    save_review(session, TEXTS, set(), at="2026-02-19T09:00:00+00:00")
    build_all(workspace)
    assert corpus_hours(workspace.lake) == both  # the copy still has the sounds
    save_review(copy, TEXTS, {3}, at="2026-02-20T09:00:00+00:00")
    build_all(workspace)
    assert corpus_hours(workspace.lake) == pytest.approx(both - SEGMENT_H, abs=1e-8)


@pytest.mark.long
def test_a_snapshot_has_a_copied_sound_once_in_one_session(workspace: HablaWorkspace, session: Path) -> None:
    build_all(workspace)
    before = snapshot(workspace)
    for name in (SAME_DAY, NEXT_DAY):
        copy_session(session, name)
    build_all(workspace)
    after = snapshot(workspace)
    assert (after.counts, after.hours) == (before.counts, before.hours)
    groups = load_ledger(workspace.lake, workspace.lake.read_pointer("splits/ledger")).groups
    assert groups[A] == groups[SAME_DAY] == groups[NEXT_DAY]
    rows = read_table(workspace.lake, after.segments, ["session_id", "audio_sha256"]).to_pylist()
    assert len({row["session_id"] for row in rows}) == 7
    assert len({row["audio_sha256"] for row in rows}) == len(rows) == 14


def test_copies_with_other_segments_annotated_are_one_cluster(workspace: HablaWorkspace, session: Path) -> None:
    copy = copy_session(session, NEXT_DAY)
    save_review(copy, TEXTS, {3}, at="2026-02-18T09:00:00+00:00")
    build_all(workspace)
    made = snapshot(workspace)
    assert sum(made.counts.values()) == 15
    split = load_ledger(workspace.lake, workspace.lake.read_pointer("splits/ledger")).groups[A]
    found = [each for each in read_utterances(workspace.lake, made, split) if each.session_id in (A, NEXT_DAY)]
    assert len(found) == 3
    assert {each.session_id for each in found} == {A}


def test_of_two_copies_of_a_sound_the_newest_text_counts(workspace: HablaWorkspace, session: Path) -> None:
    copy = copy_session(session, NEXT_DAY)
    save_review(copy, ["Hola a todas.", *TEXTS[1:]], {1}, {1}, at="2026-02-19T09:00:00+00:00")
    build_all(workspace)
    made = snapshot(workspace)
    rows = read_table(workspace.lake, made.segments, ["session_id", "day", "sentence", "status"]).to_pylist()
    found = sorted((row["sentence"], row["status"], row["day"]) for row in rows if row["session_id"] == A)
    # The segments stay those of the first copy: its day does not vanish from the corpus.
    assert found == [("Buenos días.", "confirmed", DAY), ("Hola a todas.", "corrected", DAY)]


def test_the_hours_follow_an_erasure_of_one_copy(workspace: HablaWorkspace, session: Path) -> None:
    copy_session(session, NEXT_DAY)
    build_all(workspace)
    assert corpus_hours(workspace.lake) == pytest.approx(14 * SEGMENT_H, abs=1e-8)
    person = Contributor(contributor="c-1", given=date(2026, 1, 1), withdrawn=date(2026, 3, 1), sessions=(A,))
    erase(workspace.lake, plan_erasure(workspace.lake, person, workspace.settings, NOW), workspace.settings, NOW)
    assert corpus_hours(workspace.lake) == pytest.approx(12 * SEGMENT_H, abs=1e-8)


def test_agreement_takes_copies_for_one_session(workspace: HablaWorkspace, session: Path) -> None:
    copy = copy_session(session, NEXT_DAY)
    build_all(workspace)
    for day, name in ((DAY, session.name), (TUESDAY, copy.name)):
        events = [
            AnnotationEvent(
                segment_id=segment_id(HABLA_SOURCE, name, f"segment_00{number}.wav"),
                session_id=name,
                day=day,
                text="Hola a todas.",
                status="corrected",
                reason="",
                person="ana",
                source="label_studio:1",
                created_at=NOW,
                seen_text=None,
            )
            for number in (1, 2)
        ]
        append_events(workspace.lake, day, events, {})
    found = measure_agreement(workspace.lake, workspace.conventions, lambda one, other: (one, other))
    assert (found.segments, found.sessions, found.wer.interval) == (4, 1, None)


def test_a_recording_that_went_on_after_the_copy_is_a_copy_and_one_shared_clip_is_not(
    workspace: HablaWorkspace, session: Path
) -> None:
    part = copy_session(session, SAME_DAY)
    (part / "segment_003.wav").unlink()
    other = workspace.recordings / "2_20260216_120000"
    shutil.copy(session / "segment_001.wav", other / "segment_004.wav")
    ingest_into(workspace)
    day = load_day(workspace.lake, DAY)
    assert day is not None
    found = find_copied_sessions(workspace.lake, [day.metadata], [A, SAME_DAY, other.name])
    assert found == [[SAME_DAY, A]]


def sounds(session: str, first: int) -> list[AnnotatedSegmentSpec]:
    return [AnnotatedSegmentSpec(session, number, f"{first + number:064x}") for number in (1, 2)]


def write_sessions(lake: Lake, *lines: AnnotatedSegmentSpec) -> None:
    others = [line for number in range(1, 20) for line in sounds(f"s{number:02d}", 10 * number)]
    write_corpus_day(lake, DAY, [*others, *lines], CONVENTIONS)


def test_copies_that_are_in_two_splits_already_stay_there(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_workspace(tmp_path).settings
    write_sessions(lake)
    make_snapshot(lake, settings, CONVENTIONS)
    before = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    tested, trained = (next(name for name, split in before.items() if split == wanted) for wanted in ("test", "train"))
    # Another session got the sounds of the test session, and a third one is new.
    copies = [
        AnnotatedSegmentSpec(name, number, f"{10 * int(tested[1:]) + number - 5:064x}")
        for name in (trained, "z-new")
        for number in (6, 7)
    ]
    write_sessions(lake, *copies)
    made = make_snapshot(lake, settings, CONVENTIONS)
    after = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    assert before.items() <= after.items()
    rows = read_table(lake, made.segments, ["session_id", "split", "audio_sha256"]).to_pylist()
    of_sounds = {row["split"] for row in rows if row["audio_sha256"] in {line.sound for line in copies}}
    assert of_sounds == {"test"}
    assert len({row["audio_sha256"] for row in rows}) == len(rows)


COLUMNS = {
    **dict.fromkeys(("session_id", "audio_sha256", "segment_id"), pa.string()),
    **dict.fromkeys(("annotated_at", "position"), pa.int64()),
}
ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 3)).map(
        lambda each: dict(zip(("session_id", "audio_sha256", "annotated_at"), each, strict=True))
    ),
    max_size=12,
)


@pytest.mark.long
@given(ROWS, st.sampled_from([("audio_sha256",), ("audio_sha256", "session_id")]))
def test_the_first_row_of_each_sound_gets_the_newest_text(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    rows = [{**row, "segment_id": f"{at:02}", "position": at} for at, row in enumerate(rows)]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    newest = [max(group, key=lambda row: (row["annotated_at"], row["segment_id"])) for group in groups.values()]
    expected = [(group[0]["position"], new["position"]) for group, new in zip(groups.values(), newest, strict=True)]
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()}
    with open_scratch_database(None) as database:
        database.load_columns("CREATE TABLE rows AS FROM batches", columns)
        query = f"SELECT first, newest FROM ({rank_copies('rows', keys)}) WHERE position = first ORDER BY first"  # noqa: S608
        assert list(database.fetch_rows(query)) == expected
