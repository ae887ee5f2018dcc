"""The tick: what changed is named, what did not is not even listed."""

from __future__ import annotations

import io
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from habla_ml.recordings import changed_days, ingest_day, load_day
from habla_ml_tests.recordings.world import (
    DAY,
    NOW,
    A,
    B,
    World,
    age,
    ingest,
    make_world,
    speech,
    write_json,
    write_session,
    write_wav,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    age(write_session(world.recordings, A, 2), 24)
    ingest(world)
    return world


def days(world: World, now: datetime = NOW) -> list[str]:
    return [each.day for each in changed_days(world.recordings, world.lake, world.settings, now)]


def noted(world: World) -> str:
    published = load_day(world.lake, DAY)
    assert published is not None
    return published.inputs[A]


def listed(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that a tick lists."""
    listed: list[str] = []
    scandir = os.scandir

    def listing(path: str | Path) -> object:
        listed.append(Path(path).name)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", listing)
        assert days(world) == []
    return listed


def test_a_tick_with_nothing_new_lists_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert " " in noted(world)
    assert listed(world, monkeypatch) == [world.recordings.name]


def test_a_correction_is_looked_into_once_and_then_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = noted(world)
    correction = world.recordings / A / "corrected_ground_truth.json"
    write_json(correction, {"segments": []})
    for path in (correction, correction.parent):
        os.utime(path, (NOW.timestamp() - 3600,) * 2)
    assert A in listed(world, monkeypatch)
    assert noted(world).split()[0] == before.split()[0]
    assert noted(world) != before
    assert listed(world, monkeypatch) == [world.recordings.name]
    assert ingest_day(world.recordings, DAY, world.lake, world.settings, NOW).read_sessions == ()


@pytest.mark.parametrize("name", ["segment_003.wav", "ground_truth.json"])
def test_a_file_that_comes_changes_the_day(world: World, name: str) -> None:
    path = world.recordings / A / name
    if name.endswith(".wav"):
        write_wav(path, speech(0.2, 9))
    else:
        write_json(path, {"segments": []})
    assert days(world) == [DAY]
    ingest(world)
    assert days(world) == []


def test_json_that_is_rewritten_in_place_changes_the_day(world: World) -> None:
    path = world.recordings / A / "metadata.json"
    folder = path.parent.stat()
    path.write_text(path.read_text().replace("texto 1", "textos 1"))
    os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))
    assert days(world) == [DAY]


def test_a_segment_that_still_grows_after_metadata_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    now = datetime.now(UTC) + timedelta(seconds=5)
    session = write_session(world.recordings, A, 2)
    path = session / "segment_002.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    ingest(world, now=now)
    assert " " not in noted(world)
    path.write_bytes(whole)
    assert days(world, now) == [DAY]
    assert ingest_day(world.recordings, DAY, world.lake, world.settings, now).set_aside == ()


def test_other_bounds_or_another_zone_ask_for_every_day_again(world: World) -> None:
    for section in ({"recordings": {"longest_segment_s": 10.0}}, {"recordings": {"keep_raw_stream": True}}):
        other = make_world(world.root, **section)
        assert days(other) == [DAY]
    assert days(World(world.root, world.recordings, world.lake, world.settings.model_copy(
        update={"time_zone": "Atlantic/Canary"}
    ))) == [DAY]  # fmt: skip


def test_a_restored_backup_gives_no_new_object(world: World) -> None:
    before = load_day(world.lake, DAY)
    session = world.recordings / A
    shutil.copytree(session, world.root / "backup")
    shutil.rmtree(session)
    assert days(world) == []
    shutil.copytree(world.root / "backup", session)  # times kept, but for the folder's own
    age_folder = NOW.timestamp() - 3600
    os.utime(session, (age_folder, age_folder))
    assert days(world) == []
    shutil.rmtree(session)
    shutil.copytree(world.root / "backup", session, copy_function=shutil.copyfile)  # times lost
    assert days(world) == [DAY]
    ingest(world)
    after = load_day(world.lake, DAY)
    assert before is not None
    assert after is not None
    assert (after.parquet, after.facts, after.hours) == (before.parquet, before.facts, before.hours)
    assert days(world) == []


def test_the_same_audio_under_two_names_is_two_segments_of_one_sound(world: World) -> None:
    session = world.recordings / A
    shutil.copy(session / "segment_001.wav", session / "segment_003.wav")
    shutil.copytree(session, world.recordings / B)
    table = pq.read_table(io.BytesIO(world.lake.get_bytes(ingest(world).parquet))).to_pylist()
    same = [row for row in table if row["audio_sha256"] == table[0]["audio_sha256"]]
    assert [(row["session_id"], row["number"]) for row in same] == [(A, 1), (A, 3), (B, 1), (B, 3)]
    assert len({row["segment_id"] for row in same}) == 4


def test_the_raw_stream_is_archived_on_request_and_named_in_the_day(world: World) -> None:
    stream = world.recordings / A / "raw_stream.webm"
    stream.write_bytes(b"\x1aE\xdf\xa3" + bytes(range(256)) * 5000)
    ingest(world)
    plain = load_day(world.lake, DAY)
    assert plain is not None
    assert plain.raw_streams == {}
    asked = make_world(world.root, recordings={"keep_raw_stream": True})
    parquet = ingest(asked).parquet
    kept = load_day(asked.lake, DAY)
    assert kept is not None
    assert parquet == plain.parquet
    assert asked.lake.get_bytes(kept.raw_streams[A]) == stream.read_bytes()
    stream.unlink()
    stream.symlink_to(world.root / "elsewhere")
    day = ingest_day(asked.recordings, DAY, asked.lake, asked.settings, NOW)
    assert ("raw_stream.webm", "is a symbolic link; only plain files are read") in {
        (each.file, each.reason) for each in day.set_aside
    }
    shutil.rmtree(world.recordings / A)
    age(write_session(asked.recordings, B, 1), 24)
    ingest(asked)
    after = load_day(asked.lake, DAY)
    assert after is not None
    assert after.raw_streams == kept.raw_streams
