"""The hours of the corpus are those of a plain program with every row in memory, after any sequence of changes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from habla_ml.corpus import hours
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.hours import corpus_hours
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.reachability import find_ids
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS = load_conventions(V1)
DAYS = tuple(f"2026-02-{number}" for number in range(16, 20))
Sounds = list[tuple[int, bool]]
"""Number of a sound, and whether its segment is usable."""
changes = st.dictionaries(
    st.sampled_from(DAYS), st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=8), max_size=len(DAYS)
)


def write_day(lake: Lake, day: str, sounds: Sounds) -> None:
    lines = [
        AnnotatedSegmentSpec("s", at, f"{number:064x}"[::-1], seconds=(number + 1) / 16_000, usable=usable)
        for at, (number, usable) in enumerate(sounds)
    ]
    write_corpus_day(lake, day, lines, CONVENTIONS)


def sum_hours(corpus: Mapping[str, Sounds]) -> float:
    once = {number for sounds in corpus.values() for number, usable in sounds if usable}
    return round(sum(number + 1 for number in once) / 16_000 / 3600, 9)


@pytest.mark.long
@given(st.lists(changes, min_size=1, max_size=5), st.sampled_from([1, 6, 1000]))
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_hours_after_each_change_are_those_of_all_rows_in_memory(
    steps: list[dict[str, Sounds]], part_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hours, "_PART_ROWS", part_rows)
        lake, corpus = create_empty_lake(Path(folder)), dict[str, Sounds]()
        for step in steps:
            corpus |= step
            for day, sounds in step.items():
                write_day(lake, day, sounds)
            assert corpus_hours(lake) == pytest.approx(sum_hours(corpus), abs=2e-9)  # rounded to 9 digits


def test_a_changed_day_writes_its_own_sounds_and_reads_the_text_of_no_other_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "_PART_ROWS", 3)
    lake = create_empty_lake(tmp_path)
    for at, day in enumerate(DAYS[:2]):
        write_day(lake, day, [(10 * at + each, True) for each in range(4)])
    corpus_hours(lake)
    [first] = _find_parts(lake)
    for day in DAYS[:2]:
        pointer = lake.read_pointer(catalogue.CORPUS.name(day))
        assert pointer is not None
        lake.fetch_path(pointer.value["parquet"]).unlink()
    write_day(lake, DAYS[2], [(number, True) for number in (3, 30)])
    added = corpus_hours(lake)
    assert added == sum_hours({"": [(number, True) for number in (0, 1, 2, 3, 10, 11, 12, 13, 30)]})
    one, other = _find_parts(lake)
    assert one == first
    assert lake.fetch_path(other).stat().st_size < 2 * lake.fetch_path(one).stat().st_size


def test_the_hours_of_an_earlier_version_are_added_up_again(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lake.move_pointer(catalogue.CORPUS_HOURS, {"inputs": "of other days", "sounds": "0" * 64, "hours": 9.0}, None)
    write_day(lake, DAYS[0], [(4, True), (5, False)])
    assert corpus_hours(lake) == sum_hours({"": [(4, True)]})


def _find_parts(lake: Lake) -> list[str]:
    pointer = lake.read_pointer(catalogue.CORPUS_HOURS)
    assert pointer is not None
    return [*find_ids(pointer.value["parts"])]
