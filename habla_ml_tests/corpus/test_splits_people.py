"""Splits with enrolled people, segments chosen for review, and segments that leave the corpus."""

from __future__ import annotations

import tempfile
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from habla_ml.annotation.review_queue import ReviewItem, save_queue
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot, Split, load_snapshot
from habla_ml.corpus.split_ledger import load_ledger
from habla_ml.corpus.splits import load_split_changes, make_snapshot
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml.recordings.upload_names import get_upload_session_id
from habla_ml.settings import Settings
from habla_ml_tests.testing.habla_sessions import V1, V2, make_workspace
from habla_ml_tests.testing.spellings import respell
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS_V1, CONVENTIONS_V2 = load_conventions(V1), load_conventions(V2)
DAY = "2026-02-16"
PEOPLE = """
people:
  - {name: Profe, role: teacher, labels: [profe]}
  - {name: Ana, role: student, labels: [ana]}
  - {name: Luis, role: student, labels: [luis]}
"""


def make_enrolled_settings(root: Path) -> Settings:
    (root / "people.yaml").write_text(PEOPLE, "utf-8")
    return make_workspace(root, corpus={"speakers": str(root / "people.yaml")}).settings


def read_snapshot_rows(lake: Lake, snapshot: Snapshot) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(lake, snapshot.segments).to_pylist()
    return rows


def test_a_contributor_of_uploads_is_in_one_split_in_every_session_and_spelling(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    sessions = [get_upload_session_id("phone", str(number)) for number in range(40)]
    lines = [AnnotatedSegmentSpec(each, 1, speaker=f"other-{each}") for each in sessions]
    lines += [
        AnnotatedSegmentSpec(sessions[at], 2, speaker=name) for at, name in ((3, "1001"), (8, " 1001 "), (21, "1001"))
    ]
    lines += [AnnotatedSegmentSpec(sessions[at], 3, speaker="unknown") for at in range(40)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    rows = read_snapshot_rows(lake, make_snapshot(lake, make_workspace(tmp_path).settings, CONVENTIONS_V1))
    own = {row["split"] for row in rows if row["speaker"] == "1001"}
    assert len(own) == 1
    assert {row["session_id"] for row in rows if row["speaker"] == "1001"} == {sessions[at] for at in (3, 8, 21)}
    assert {row["is_seen_speaker"] for row in rows if row["speaker"] == "unknown"} == {None}


def test_a_student_is_in_one_split_and_a_teacher_connects_no_sessions(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [AnnotatedSegmentSpec(f"s{n}", 1, speaker="profe") for n in range(40)]
    lines += [AnnotatedSegmentSpec(f"s{n}", 2, speaker="ana") for n in (3, 8, 21)] + [
        AnnotatedSegmentSpec("s5", 3, speaker="visitor")
    ]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    made = make_snapshot(lake, make_enrolled_settings(tmp_path), CONVENTIONS_V1)
    rows = read_snapshot_rows(lake, made)
    assert len({row["split"] for row in rows if row["speaker"] == "Ana"}) == 1
    assert made.in_several_splits == ("Profe",)
    assert {row["role"] for row in rows if row["speaker"] == "Profe"} == {"teacher"}
    for row in rows:
        expected = True if row["speaker"] == "Profe" else False if row["speaker"] == "Ana" else None
        assert row["is_seen_speaker"] == (None if row["split"] == "train" else expected)
    assert make_snapshot(lake, make_enrolled_settings(tmp_path), CONVENTIONS_V1) == made


def test_new_sessions_of_an_enrolled_student_go_to_the_students_split(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    first = [AnnotatedSegmentSpec(f"s{n}", speaker="ana" if n == 1 else "x") for n in range(20)]
    write_corpus_day(lake, DAY, first, CONVENTIONS_V1)
    make_snapshot(lake, make_enrolled_settings(tmp_path), CONVENTIONS_V1)
    split = load_ledger(lake, lake.read_pointer("splits/ledger")).groups["s1"]
    # Their first session leaves the corpus; the ledger still has their split.
    write_corpus_day(lake, DAY, [*first[:1], *first[2:]], CONVENTIONS_V1)
    write_corpus_day(lake, "2026-02-17", [AnnotatedSegmentSpec("new", speaker="ana")], CONVENTIONS_V1)
    make_snapshot(lake, make_enrolled_settings(tmp_path), CONVENTIONS_V1)
    assert load_ledger(lake, lake.read_pointer("splits/ledger")).groups["new"] == split


def test_a_student_who_is_enrolled_later_keeps_the_split_of_the_known_session(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    first = [AnnotatedSegmentSpec(f"s{n}", speaker=f"x{n}") for n in range(20)]
    write_corpus_day(lake, DAY, first, CONVENTIONS_V1)
    make_snapshot(lake, make_workspace(tmp_path).settings, CONVENTIONS_V1)
    before = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    held_out = next(session for session, split in before.items() if split == "test")
    told = [AnnotatedSegmentSpec(each.session, speaker="ana") if each.session == held_out else each for each in first]
    write_corpus_day(lake, DAY, told, CONVENTIONS_V1)
    write_corpus_day(lake, "2026-02-17", [AnnotatedSegmentSpec("new", speaker="ana")], CONVENTIONS_V1)
    make_snapshot(lake, make_enrolled_settings(tmp_path), CONVENTIONS_V1)
    assert load_ledger(lake, lake.read_pointer("splits/ledger")).groups["new"] == "test"


def test_segments_chosen_as_uncertain_are_never_held_out_and_are_counted(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [AnnotatedSegmentSpec(f"s{n}", k) for n in range(30) for k in (1, 2)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    items = [
        ReviewItem(each.name, each.session, DAY, "x", 60.0, "", "habla", 1.0, ("quiet",), is_random=each.number == 1)
        for each in lines
    ]
    save_queue(lake, items, datetime(2026, 3, 1, tzinfo=UTC))
    made = make_snapshot(lake, make_workspace(tmp_path).settings, CONVENTIONS_V1)
    rows = read_snapshot_rows(lake, made)
    assert {row["number"] for row in rows if row["split"] != "train"} == {1}
    assert {row["number"] for row in rows if row["split"] == "train"} == {1, 2}
    assert made.kept_out == {"train": 0, "validation": made.counts["validation"], "test": made.counts["test"]}


def test_segments_that_leave_the_test_set_are_counted(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_workspace(tmp_path).settings
    lines = [AnnotatedSegmentSpec(f"s{n}", k) for n in range(30) for k in (1, 2)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    made = make_snapshot(lake, settings, CONVENTIONS_V1)
    assert load_split_changes(lake) == {}
    gone = next(row["segment_id"] for row in read_snapshot_rows(lake, made) if row["split"] == "test")
    write_corpus_day(lake, DAY, [each for each in lines if each.name != gone], CONVENTIONS_V1)
    make_snapshot(lake, settings, CONVENTIONS_V1)
    assert {split: each.removed for split, each in load_split_changes(lake).items()} == {
        "train": 0,
        "validation": 0,
        "test": 1,
    }


steps = st.lists(
    st.tuples(
        st.lists(
            st.builds(
                AnnotatedSegmentSpec,
                session=st.sampled_from([f"s{n}" for n in range(10)]),
                number=st.integers(1, 4),
                seconds=st.sampled_from([1.0, 60.0, 900.0]),
                usable=st.booleans(),
                speaker=st.sampled_from(["profe", "ana", "luis", "x"]),
                sentence=st.sampled_from(["hola", "sí"]),
            ),
            unique_by=lambda line: line.name,
            min_size=1,
            max_size=16,
        ).filter(lambda lines: any(line.usable for line in lines)),
        st.sampled_from([CONVENTIONS_V1, CONVENTIONS_V2]),
    ),
    min_size=2,
    max_size=5,
)


@pytest.mark.long
@given(steps)
@hypothesis_settings(max_examples=12)
def test_no_sequence_of_changes_moves_a_group_or_shrinks_a_split_uncounted(corpora: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lake, settings = create_empty_lake(root), make_enrolled_settings(root)
        known: dict[str, Split] = {}
        before: Snapshot | None = None
        for lines, conventions in corpora:
            write_corpus_day(lake, DAY, lines, conventions)
            made = make_snapshot(lake, settings, conventions)
            decided = dict(load_ledger(lake, lake.read_pointer("splits/ledger")).groups)
            assert known.items() <= decided.items()
            assert all(decided[row["session_id"]] == row["split"] for row in read_snapshot_rows(lake, made))
            if before is not None and made.id != before.id:
                for split in OPEN_SPLITS:
                    change = load_split_changes(lake)[split]
                    assert made.counts[split] == before.counts[split] + change.added - change.removed
                    assert change.erased == 0
            assert make_snapshot(lake, settings, conventions) == load_snapshot(lake, made.id)
            known, before = decided, made
        assert lake.read_pointer(catalogue.CORPUS.name(DAY)) is not None


def test_one_child_in_four_spellings_is_one_group_of_the_split(tmp_path: Path) -> None:
    """A table's session ends with its speaker; the same name typed in four ways gave four groups."""
    lake, settings = create_empty_lake(tmp_path), make_workspace(tmp_path).settings
    children = [[f"tabla-{each}" for each in respell(name)] for name in ("Lucía Peña", "Íñigo Ruiz", "Zoé Cañas")]
    spoken = [AnnotatedSegmentSpec(each, 1) for sessions in children for each in sessions]
    others = [AnnotatedSegmentSpec(f"s{n}", 1) for n in range(40)]
    write_corpus_day(lake, DAY, [*others, *spoken], CONVENTIONS_V1)
    make_snapshot(lake, settings, CONVENTIONS_V1)
    groups = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    assert [len({groups[each] for each in sessions}) for sessions in children] == [1, 1, 1]
    assert set(groups.values()) == {"train", "validation", "test"}


def test_a_new_spelling_goes_to_the_split_of_the_known_one_even_after_that_left_the_corpus(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_workspace(tmp_path).settings
    names = [f"t-niña {n}" for n in range(20)]
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec(each, 1) for each in names], CONVENTIONS_V1)
    make_snapshot(lake, settings, CONVENTIONS_V1)
    before = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    decomposed = [unicodedata.normalize("NFD", each).upper() for each in names]
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec(each, 1) for each in decomposed], CONVENTIONS_V1)
    make_snapshot(lake, settings, CONVENTIONS_V1)
    groups = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    assert {new: groups[new] for new in decomposed} == {
        new: before[old] for new, old in zip(decomposed, names, strict=True)
    }
    assert {name: groups[name] for name in names} == before


def test_an_enrolled_student_keeps_the_split_in_every_spelling_of_label_and_map(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_enrolled_settings(tmp_path)
    people = tmp_path / "people.yaml"
    people.write_text("people: [{name: Lucía Peña, role: student, labels: [Lucía Peña]}]\n", "utf-8")
    labels = respell("Lucía Peña")
    spoken = [AnnotatedSegmentSpec(f"s{n}", speaker=labels[n] if n < len(labels) else "x") for n in range(40)]
    write_corpus_day(lake, DAY, spoken, CONVENTIONS_V1)
    rows = read_snapshot_rows(lake, make_snapshot(lake, settings, CONVENTIONS_V1))
    mine = {row["session_id"]: row["split"] for row in rows if row["speaker"] == "Lucía Peña"}
    assert mine.keys() == {f"s{n}" for n in range(len(labels))}
    assert len(set(mine.values())) == 1
    respelled = unicodedata.normalize("NFD", "LUCÍA  peña")
    people.write_text(f"people: [{{name: '{respelled}', role: student, labels: [lucía peña]}}]\n", "utf-8")
    write_corpus_day(lake, DAY, spoken[len(labels) :], CONVENTIONS_V1)
    write_corpus_day(lake, "2026-02-17", [AnnotatedSegmentSpec("new", speaker="Lucía Peña")], CONVENTIONS_V1)
    make_snapshot(lake, settings, CONVENTIONS_V1)
    ledger = load_ledger(lake, lake.read_pointer("splits/ledger"))
    assert ledger.groups["new"] == next(iter(mine.values()))
    assert list(ledger.people) == ["Lucía Peña"]
