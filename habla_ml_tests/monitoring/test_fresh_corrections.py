"""The corrections since a release are those of a plain program with every row in memory."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from habla_ml.corpus.build import CORPUS_SCHEMA
from habla_ml.corpus.conventions import load_conventions
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import put_table, read_table
from habla_ml.monitoring.fresh_corrections import open_fresh_corrections
from habla_ml.monitoring.weeks import week_of_moment
from habla_ml_tests.testing.chosen_segments import choose_segments
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.reference_snapshot import find_copies
from habla_ml_tests.testing.sealed_sessions import seal_sessions
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS = load_conventions(V1)
ZONE = ZoneInfo("Europe/Madrid")
DAYS = ("2026-02-16", "2026-02-17")
RELEASED = datetime(2026, 1, 1, 1, tzinfo=UTC)
SEALED = "s5"
segments = st.lists(
    st.builds(
        AnnotatedSegmentSpec,
        session=st.sampled_from([f"s{number}" for number in range(6)]),
        number=st.integers(1, 3),
        sound=st.sampled_from(["", "", *(f"sound {number}" for number in range(5))]),
        usable=st.sampled_from([True, True, True, False]),
        sentence=st.sampled_from(["uno", "dos", "tres"]),
        hour=st.integers(0, 4),
    ),
    unique_by=lambda line: line.name,
    max_size=12,
)


@pytest.mark.long
@given(segments, segments, st.sets(st.sampled_from(["16s1/1", "16s2/3", "17s3/2"])), st.integers(0, 4))
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_fresh_corrections_are_those_of_all_rows_in_memory(
    monday: list[Any], tuesday: list[Any], chosen: set[str], n_trained: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = create_empty_lake(Path(folder))
        for day, lines in zip(DAYS, (monday, tuesday), strict=True):
            write_corpus_day(lake, day, [replace(line, id_prefix=day[-2:]) for line in lines], CONVENTIONS)
        _spread_over_weeks(lake)
        choose_segments(lake, chosen)
        seal_sessions(lake, SEALED)
        rows = [row for day in DAYS for row in _read_day(lake, day)]
        trained = [{name: row[name] for name in ("segment_id", "audio_sha256")} for row in rows[:n_trained]]
        schema = pa.schema([("segment_id", pa.string()), ("audio_sha256", pa.string())])
        table = put_table(lake, pa.Table.from_pylist(trained, schema=schema))
        with open_fresh_corrections(lake, table, RELEASED, ZONE) as fresh:
            found = {week: [astuple(each) for each in corrections] for week, corrections in fresh.items()}
        assert found == _find_in_memory(rows, trained, chosen)


def _find_in_memory(
    rows: list[dict[str, Any]], trained: list[dict[str, Any]], chosen: Collection[str]
) -> dict[str, list[tuple[Any, ...]]]:
    ids, sounds = ({row[name] for row in trained} for name in ("segment_id", "audio_sha256"))
    fresh = [
        row
        for row in rows
        if row["problem"] is None and row["annotated_at"] >= RELEASED and row["session_id"] != SEALED
        if row["segment_id"] not in ids and row["audio_sha256"] not in sounds
    ]
    uncertain = {row["audio_sha256"] for row in fresh if row["segment_id"] in chosen}
    days, sessions = {row["day"] for row in fresh}, {row["session_id"] for row in fresh}
    names = find_copies((row for row in rows if row["day"] in days and row["session_id"] in sessions), {})
    of_sound = defaultdict(list)
    for row in fresh:
        of_sound[row["audio_sha256"]].append(row)
    weeks = defaultdict(list)
    for sound, copies in of_sound.items():
        first, newest = copies[0], max(copies, key=lambda row: (row["annotated_at"], row["segment_id"]))
        session = names.get(first["session_id"], first["session_id"])
        key = (first["segment_id"], session, first["day"], newest["sentence"], sound, CONVENTIONS.digest)
        weeks[week_of_moment(newest["annotated_at"], ZONE)].append((*key, sound in uncertain))
    return {week: sorted(weeks[week]) for week in sorted(weeks)}


def _spread_over_weeks(lake: Lake) -> None:
    """Put the annotations of one hour half a week after those of the hour before."""
    for pointer in catalogue.CORPUS.read(lake).list_pointers():
        rows = read_table(lake, pointer.value["parquet"]).to_pylist()
        for row in rows:
            row["annotated_at"] += timedelta(days=4 * row["annotated_at"].hour)
        table = put_table(lake, pa.Table.from_pylist(rows, schema=CORPUS_SCHEMA))
        lake.move_pointer(pointer.name, {**pointer.value, "parquet": table}, pointer)


def _read_day(lake: Lake, day: str) -> list[dict[str, Any]]:
    pointer = lake.read_pointer(catalogue.CORPUS.name(day))
    assert pointer is not None
    rows: list[dict[str, Any]] = read_table(lake, pointer.value["parquet"]).to_pylist()
    return rows
