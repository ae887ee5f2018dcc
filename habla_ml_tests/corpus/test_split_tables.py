"""The SQL of the splits does what a plain program does with every row in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from habla_ml.corpus import split_tables
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.near_duplicates import Side
from habla_ml.corpus.split_ledger import load_ledger
from habla_ml.corpus.split_tables import SplitTables
from habla_ml.corpus.splits import make_snapshot
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml_tests.testing.chosen_segments import choose_segments
from habla_ml_tests.testing.habla_sessions import V1, make_workspace
from habla_ml_tests.testing.reference_snapshot import find_copies, make_rows, pin_sounds, select_rows
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS = load_conventions(V1)
DAYS = ("2026-02-16", "2026-02-17")
COMPARED = ("segment_id", "session_id", "day", "audio_sha256", "sentence", "split", "is_seen_sentence", "duration_s")
segments = st.lists(
    st.builds(
        AnnotatedSegmentSpec,
        session=st.sampled_from([f"s{number}" for number in range(9)]),
        number=st.integers(1, 4),
        sound=st.sampled_from(["", "", "", *(f"sound {number}" for number in range(8))]),
        seconds=st.sampled_from([0.1, 3.7, 60.0]),
        usable=st.sampled_from([True, True, False]),
        sentence=st.sampled_from(["Sí.", "¡sí!", "Ñu, ¿no?", "otra"]),
        hour=st.integers(0, 2),
    ),
    unique_by=lambda line: line.name,
    max_size=24,
)


@pytest.mark.long
@given(
    st.lists(
        st.tuples(segments, segments, st.sets(st.sampled_from(["16s1/1", "16s2/3", "17s3/2"]))), min_size=2, max_size=3
    )
)
@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a snapshot is slow to shrink
def test_each_snapshot_has_the_rows_and_pinned_sounds_of_a_plain_program(corpora: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake, chosen_settings = create_empty_lake(Path(folder)), make_workspace(Path(folder)).settings
        pinned: dict[str, str] = {}
        earlier: list[dict[str, Any]] = []
        for *lines, chosen in corpora:
            for day, of_day in zip(DAYS, lines, strict=True):
                write_corpus_day(lake, day, [replace(line, id_prefix=day[-2:]) for line in of_day], CONVENTIONS)
            choose_segments(lake, chosen)
            before = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER)).groups
            try:
                made = make_snapshot(lake, chosen_settings, CONVENTIONS)
            except CorpusError:
                continue  # no segment is usable
            rows = [row for day in DAYS for row in _read_usable_day(lake, day)]
            usable = {row["session_id"] for row in rows if row["problem"] is None}
            copies = find_copies((row for row in rows if row["session_id"] in usable), before)
            ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
            selected = select_rows(rows, ledger.groups, copies, chosen)
            pinned = pin_sounds(selected, earlier, pinned)
            assert dict(ledger.pinned_audio) == pinned
            earlier = read_table(lake, made.segments).to_pylist()
            expected = make_rows(selected, pinned)
            assert [[row[name] for name in COMPARED] for row in earlier] == [
                [row[name] for name in COMPARED] for row in expected
            ]


def _read_usable_day(lake: Lake, day: str) -> list[dict[str, Any]]:
    """Return the rows of a day; none if no row is usable, since such a day has no part in a snapshot."""
    pointer = lake.read_pointer(catalogue.CORPUS.name(day))
    assert pointer is not None
    rows: list[dict[str, Any]] = read_table(lake, pointer.value["parquet"]).to_pylist()
    return rows if any(row["problem"] is None for row in rows) else []


def test_the_sounds_of_each_day_and_side_are_those_that_are_looked_up_for_it(tmp_path: Path, monkeypatch: Any) -> None:
    found: dict[tuple[str, str], list[str]] = {}
    original = SplitTables.iterate_sounds

    def iterate_and_compare(tables: SplitTables) -> Iterator[tuple[str, Side, list[str]]]:
        found.update({(day, side): sounds for day, side, sounds in original(tables)})
        for (day, side), sounds in found.items():
            assert tables.find_sounds(day, "train" if side == "train" else "held_out") == sounds == sorted(sounds)
        return iter([])

    monkeypatch.setattr(SplitTables, "iterate_sounds", iterate_and_compare)
    lake = create_empty_lake(tmp_path)
    for day in DAYS:
        lines = [AnnotatedSegmentSpec(f"s{n}-{day}", k, f"{day}-{n}-{k}") for n in range(20) for k in (1, 2, 3)]
        write_corpus_day(lake, day, lines, CONVENTIONS)
    rows = read_table(lake, make_snapshot(lake, make_workspace(tmp_path).settings, CONVENTIONS).segments).to_pylist()
    assert set(found) == {(day, side) for day in DAYS for side in ("train", "held_out")}
    for (day, side), sounds in found.items():
        of_side = [
            row["audio_sha256"] for row in rows if (row["day"], row["split"] == "train") == (day, side == "train")
        ]
        assert sounds == sorted(of_side)


@pytest.mark.long
def test_small_slices_and_days_loaded_alone_give_the_same_snapshot(tmp_path: Path, monkeypatch: Any) -> None:
    found = []
    for name, n_rows in (("large", 131_072), ("small", 7)):
        monkeypatch.setattr(split_tables, "_SLICE_ROWS", n_rows)
        monkeypatch.setattr(split_tables, "_LOADED_TOGETHER", n_rows)
        lake = create_empty_lake(tmp_path / name)
        for day in DAYS:
            lines = [AnnotatedSegmentSpec(f"s{n}-{day}", k, f"{n % 17}-{k}") for n in range(20) for k in (1, 2, 3)]
            write_corpus_day(lake, day, lines, CONVENTIONS)
        found.append(make_snapshot(lake, make_workspace(tmp_path / name).settings, CONVENTIONS).id)
    assert found[0] == found[1]
