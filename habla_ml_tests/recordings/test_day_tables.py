"""The tables of large days: what a change writes, and what every reader then finds."""

import random
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.lake.shards import SHARDS_FORMAT, count_rows, find_rows, iterate_batches, load_shards, read_rows
from habla_ml.recordings.day_tables import DayTables, DayTotals, ShardSizes, write_day
from habla_ml.recordings.segments import ROW_GROUP_SIZE, RecordedSegment, segment_id

SIZES = ShardSizes(small_bytes=12_000, largest_bytes=40_000)
"""A segment has 1,000 bytes of audio and some of metadata."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def make_segment(session: str, number: int, take: int = 0) -> RecordedSegment:
    audio = random.Random(f"{session} {number} {take}").randbytes(1_000)
    return RecordedSegment(
        segment_id=segment_id("habla", session, f"{number}.wav"),
        session_id=session,
        speaker="SPEAKER_00",
        duration_s=2.0,
        loudness_dbfs=-20.0,
        audio_sha256=audio[:32].hex(),
        source="habla",
        day="2026-02-16",
        file_name=f"{number}.wav",
        number=number,
        recorded_at=None,
        audio=audio,
        peak_dbfs=-3.0,
        clipped_share=0.0,
        direction="es_to_en",
        machine_text="hola",
        machine_confidence=0.9,
        asr_status=None,
    )


class Day:
    """A day and what it should have."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self.folder = lake, folder
        self.tables: DayTables | None = None
        self.expected: dict[str, RecordedSegment] = {}

    def change(self, segments: Iterable[RecordedSegment], dropped: Collection[str] = ()) -> DayTables:
        fresh = sorted(segments, key=lambda each: (each.session_id, each.number))
        self.expected = {key: each for key, each in self.expected.items() if each.session_id not in dropped}
        self.expected |= {each.segment_id: each for each in fresh}
        self.folder.mkdir(exist_ok=True)
        self.tables, totals = write_day(self.lake, self.tables, iter(fresh), dropped, self.folder, SIZES)
        sessions = {each.session_id for each in self.expected.values()}
        assert totals == DayTotals(len(self.expected), len(sessions), round(2.0 * len(self.expected) / 3600, 9))
        return self.tables

    def read_audio(self) -> dict[str, bytes]:
        assert self.tables is not None
        rows = read_rows(self.lake, self.tables.audio, ["segment_id", "audio"]).to_pylist()
        assert len(rows) == len({row["segment_id"] for row in rows}), "a segment twice"
        return {row["segment_id"]: row["audio"] for row in rows}

    def list_shards(self) -> list[str]:
        assert self.tables is not None
        return [each.parquet for each in load_shards(self.lake, self.tables.audio).shards]


@pytest.fixture
def day(lake: Lake, tmp_path: Path) -> Day:
    return Day(lake, tmp_path / "unfinished")


def make_session(name: str, segments: int, take: int = 0) -> list[RecordedSegment]:
    return [make_segment(name, number, take) for number in range(segments)]


def test_a_small_day_is_one_object_whatever_the_order_of_its_sessions(day: Day, lake: Lake, tmp_path: Path) -> None:
    day.change(make_session("a", 3))
    tables = day.change(make_session("b", 2))
    other = Day(lake, tmp_path / "other")
    other.change(make_session("b", 2))
    assert other.change(make_session("a", 3)) == tables
    assert day.list_shards() == [tables.audio]
    assert load_shards(lake, tables.metadata).shards[0].parquet == tables.metadata


def test_a_changed_session_of_a_large_day_writes_only_itself(day: Day, lake: Lake) -> None:
    day.change([*make_session("a", 300), *make_session("b", 300)])
    large = day.list_shards()
    assert len(large) == 3, "a row group each: a, the rest of a with b, the rest of b"
    written = set(lake.list_object_ids())
    day.change([*make_session("a", 20, take=1), *make_session("c", 4)])
    assert day.list_shards()[:2] == large[1:], "the shards with session b stay"
    assert day.read_audio() == {key: each.audio for key, each in day.expected.items()}
    added = sum(each.size_bytes for each in lake.list_objects() if each.sha256 not in written)
    assert 304_000 < added < 400_000, "session a with its other rows, and session c, of a day of 604,000 bytes"
    day.change([], dropped=["a", "c"])
    assert day.read_audio().keys() == {each.segment_id for each in make_session("b", 300)}


@pytest.mark.long
def test_small_and_sparse_shards_are_written_again_so_that_few_remain(day: Day) -> None:
    day.change(make_session("a", ROW_GROUP_SIZE))
    for number in range(30):
        day.change(make_session(f"b{number:02d}", 2))
    assert len(day.list_shards()) < 12, "thirty changes of 2,000 bytes are not thirty shards"
    before = len(day.list_shards())
    day.change([], dropped=[f"b{number:02d}" for number in range(28)])
    assert len(day.list_shards()) < before
    assert day.read_audio() == {key: each.audio for key, each in day.expected.items()}


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_changes_leaves_each_segment_once_in_its_newest_form(day: Day, lake: Lake, seed: int) -> None:
    rng = random.Random(seed)
    for take in range(12):
        names = rng.sample("abcdefgh", rng.randint(0, 3))
        fresh = [each for name in names for each in make_session(name, rng.choice([1, 5, 60]), take)]
        day.change(fresh, dropped=rng.sample("abcdefgh", rng.choice([0, 0, 1])) if not names else ())
        assert day.read_audio() == {key: each.audio for key, each in day.expected.items()}
    assert day.tables is not None
    audio, metadata = day.tables.audio, day.tables.metadata
    assert count_rows(lake, audio) == count_rows(lake, metadata) == len(day.expected)
    same_order = [read_rows(lake, each, ["segment_id"])["segment_id"].to_pylist() for each in (audio, metadata)]
    assert same_order[0] == same_order[1]
    wanted = set(rng.sample(sorted(day.expected), min(5, len(day.expected))))
    for by_ranges in (False, True):
        found = find_rows(lake, audio, "segment_id", wanted.__contains__, ["segment_id", "audio"], by_ranges=by_ranges)
        rows = [row for each in found for row in each.rows.to_pylist()]
        assert {row["segment_id"]: row["audio"] for row in rows} == {key: day.expected[key].audio for key in wanted}
    assert set(lake.list_object_ids()) >= lake.find_reachable(set(lake.list_object_ids()), more=[{"day": audio}]).keys()


def test_a_row_without_hints_yields_to_the_stored_row_of_the_same_sound(day: Day, lake: Lake) -> None:
    day.change(make_session("a", ROW_GROUP_SIZE))
    bare = {"speaker": None, "direction": None, "machine_text": None, "machine_confidence": None}
    tables = day.change([replace(make_segment("a", 0), **bare)])
    found = find_rows(lake, tables.metadata, "segment_id", make_segment("a", 0).segment_id.__eq__, ["machine_text"])
    assert [row["machine_text"] for each in found for row in each.rows.to_pylist()] == ["hola"]


def test_an_empty_day_has_tables_without_a_row(day: Day, lake: Lake) -> None:
    tables = day.change([])
    assert count_rows(lake, tables.audio) == 0
    assert read_rows(lake, tables.metadata, ["segment_id"]).num_rows == 0
    assert list(iterate_batches(lake, tables.metadata)) == []


def test_an_object_that_is_no_table_is_refused(lake: Lake) -> None:
    other = lake.put_json({"format": "habla_ml.snapshot/1"})
    with pytest.raises(LakeError, match=f"object {other} in .* is no table"):
        load_shards(lake, other)
    assert SHARDS_FORMAT == "habla_ml.shards/1"
