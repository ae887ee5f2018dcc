"""Splits are decided once for each session and never change."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import Snapshot, Split, load_latest_snapshot
from habla_ml.corpus.split_ledger import load_ledger
from habla_ml.corpus.splits import count_speakers, describe_balance, load_split_changes, make_snapshot
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml_tests.testing.habla_sessions import V1, V2, make_workspace
from habla_ml_tests.testing.text_corpora import (
    AnnotatedSegmentSpec,
    create_empty_lake,
    read_splits,
    write_corpus_day,
)

CONVENTIONS_V1 = load_conventions(V1)
DAY = "2026-02-16"


def snapshot(lake: Lake, root: Path) -> Snapshot:
    return make_snapshot(lake, make_workspace(root).settings, CONVENTIONS_V1)


def groups(lake: Lake) -> dict[str, Split]:
    return dict(load_ledger(lake, lake.read_pointer("splits/ledger")).groups)


def test_a_snapshot_has_every_usable_segment_once_and_is_reproducible(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    write_corpus_day(
        lake,
        DAY,
        [AnnotatedSegmentSpec(f"s{n}", k, usable=k < 3) for n in range(20) for k in (1, 2, 3)],
        CONVENTIONS_V1,
    )
    made = snapshot(lake, tmp_path)
    assert made.counts == {"train": 32, "validation": 4, "test": 4}
    assert made.hours == {
        "train": pytest.approx(32 / 60),
        "validation": pytest.approx(4 / 60),
        "test": pytest.approx(4 / 60),
    }
    assert (made.conventions, made.conventions_digest) == ("orthographic-v1", CONVENTIONS_V1.digest)
    assert snapshot(lake, tmp_path) == made == load_latest_snapshot(lake)
    sessions = {name.split("/")[0]: split for name, (split, _) in read_splits(lake, made.segments).items()}
    assert sessions == groups(lake)
    columns = pq.read_schema(io.BytesIO(lake.get_bytes(made.segments))).names
    assert {"segment_id", "day", "session_id", "speaker", "sentence", "split", "duration_s", "status"} <= set(columns)


def test_the_speakers_of_a_snapshot_are_counted_as_a_plain_program_counts_its_rows(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    labels = ("Ana", "Luis", "SPEAKER_00")
    lines = [AnnotatedSegmentSpec(f"s{n}", k, speaker=labels[(n + k) % 3]) for n in range(30) for k in range(n % 4)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    made = snapshot(lake, tmp_path)
    rows = read_table(lake, made.segments).to_pylist()
    for split, found in count_speakers(lake, made).items():
        of_split = [row for row in rows if row["split"] == split]
        seen = [row["is_seen_speaker"] for row in of_split]
        counts = [None] * 3 if split == "train" else [seen.count(each) for each in (True, False, None)]
        keys = ("sessions", "seen", "unseen", "unknown")
        assert found == dict(zip(keys, [len({row["session_id"] for row in of_split}), *counts], strict=True))
    assert {row["is_seen_speaker"] for row in rows if row["split"] == "test"} >= {None}


def test_a_session_that_is_too_large_for_its_share_is_named_in_the_balance(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_workspace(tmp_path).settings.splits
    lines = [AnnotatedSegmentSpec(f"s{n}", 1, seconds=600.0 if n == 2 else 60.0) for n in range(6)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    made = snapshot(lake, tmp_path)
    expected = {"train": 0.8, "validation": 0.1, "test": 0.1}
    shares = {split: made.hours[split] / (15 / 60) for split in expected}
    listed = "; ".join(
        f"{split} has {shares[split]:.1%} of {share:.0%}"
        for split, share in expected.items()
        if abs(shares[split] - share) > 0.01
    )
    found = describe_balance(lake, made, settings)
    assert found.startswith(f"{listed}. Groups never move;")
    assert found.endswith("The largest session has 66.7% of the hours.")


def test_a_snapshot_records_what_came_left_and_was_erased_since_the_one_before(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [AnnotatedSegmentSpec(f"s{n}", k) for n in range(20) for k in (1, 2, 3)]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    first = snapshot(lake, tmp_path)
    assert load_split_changes(lake) == {}
    pointer = lake.read_pointer(catalogue.SPLITS)
    assert pointer is not None
    assert pointer.value == {"snapshot": first.id, "counts": dict(first.counts)}
    # An erasure replaces the snapshot under the pointer, and keeps the numbers that people have seen.
    seen = {**first.counts, "test": first.counts["test"] + 2}
    lake.move_pointer(catalogue.SPLITS, {"snapshot": first.id, "counts": seen}, pointer)
    write_corpus_day(lake, DAY, [*lines[3:], AnnotatedSegmentSpec("s1", 4)], CONVENTIONS_V1)
    assert snapshot(lake, tmp_path) != first
    changes = load_split_changes(lake)
    assert sum(each.added for each in changes.values()) == 1
    assert sum(each.removed for each in changes.values()) == 3
    assert {split: each.erased for split, each in changes.items()} == {"train": 0, "validation": 0, "test": 2}


def test_an_empty_corpus_is_refused_with_the_next_step(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    with pytest.raises(CorpusError, match="is empty"):
        snapshot(lake, tmp_path)
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec("a", usable=False)], CONVENTIONS_V1)
    with pytest.raises(CorpusError, match="is empty"):
        snapshot(lake, tmp_path)
    assert lake.read_pointer("splits/ledger") is None


def test_a_corpus_of_one_session_is_all_train_with_an_empty_test_split(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec("a", 1), AnnotatedSegmentSpec("a", 2)], CONVENTIONS_V1)
    made = snapshot(lake, tmp_path)
    assert made.counts == {"train": 2, "validation": 0, "test": 0}
    assert made.hours["test"] == 0.0


def test_days_under_other_conventions_are_refused_by_name(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec("a")], CONVENTIONS_V1)
    write_corpus_day(lake, "2026-02-17", [AnnotatedSegmentSpec("b")], load_conventions(V2))
    write_corpus_day(lake, "2026-02-18", [], load_conventions(V2))
    with pytest.raises(CorpusError, match=r"1 of 2 days.*orthographic-v1.*2026-02-17"):
        snapshot(lake, tmp_path)


@pytest.mark.long
def test_copies_of_the_same_audio_are_in_one_split_only(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    write_corpus_day(lake, DAY, [AnnotatedSegmentSpec(f"s{n}", k) for n in range(30) for k in (1, 2)], CONVENTIONS_V1)
    snapshot(lake, tmp_path)
    by_split = {split: group for group, split in groups(lake).items()}
    copies = [
        AnnotatedSegmentSpec(by_split["train"], 8, by_split["test"] + "/1"),
        AnnotatedSegmentSpec(by_split["validation"], 9, by_split["train"] + "/1"),
    ]
    write_corpus_day(lake, "2026-02-17", copies, CONVENTIONS_V1)
    found = read_splits(lake, snapshot(lake, tmp_path).segments)
    assert by_split["test"] + "/1" in found
    assert by_split["train"] + "/1" in found
    assert not {line.name for line in copies} & set(found)
    # The original leaves the corpus: a model may be trained on the audio, so no other split may use its copy.
    lines = [
        AnnotatedSegmentSpec(f"s{n}", k) for n in range(30) for k in (1, 2) if f"s{n}/{k}" != by_split["train"] + "/1"
    ]
    write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
    assert copies[1].name not in read_splits(lake, snapshot(lake, tmp_path).segments)


changes = st.lists(
    st.lists(
        st.builds(
            AnnotatedSegmentSpec,
            session=st.sampled_from([f"s{n}" for n in range(12)]),
            number=st.integers(1, 3),
            sound=st.sampled_from(["", "", "x", "y", "z"]),
            seconds=st.sampled_from([1.0, 60.0, 900.0]),
            usable=st.booleans(),
        ),
        unique_by=lambda line: line.name,
        max_size=16,
    ),
    min_size=2,
    max_size=5,
)


@pytest.mark.long
@given(changes)
@settings(max_examples=12)
def test_no_sequence_of_additions_and_corrections_moves_a_group_or_audio_to_another_split(
    corpora: list[list[AnnotatedSegmentSpec]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lake, chosen = create_empty_lake(root), make_workspace(root).settings
        known: dict[str, Split] = {}
        split_of_audio: dict[str, str] = {}
        for lines in corpora:
            write_corpus_day(lake, DAY, lines, CONVENTIONS_V1)
            if not any(line.usable for line in lines):
                with pytest.raises(CorpusError, match="empty"):
                    make_snapshot(lake, chosen, CONVENTIONS_V1)
                continue
            found = read_splits(lake, make_snapshot(lake, chosen, CONVENTIONS_V1).segments)
            decided = groups(lake)
            assert known.items() <= decided.items()
            assert {line.session for line in lines if line.usable} <= set(decided)
            for name, (split, sound) in found.items():
                assert decided[name.split("/")[0]] == split
                assert split_of_audio.setdefault(sound, split) == split
            kept = {sound for _, sound in found.values()}
            assert {line.sound or line.name for line in lines if line.usable} >= kept
            known = decided
