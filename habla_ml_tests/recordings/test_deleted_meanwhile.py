"""Habla's clean-up deletes folders while they are read: nothing half-ingested, nothing lost that was finished."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from habla_ml.audio import decode_flac, pcm_sha256
from habla_ml.lake import Lake
from habla_ml.recordings import changed_days, ingest_day, load_day, read_set_aside
from habla_ml.recordings import reading as reading_module
from habla_ml_tests.recordings.world import NOW, World, age, make_world, write_session

DAY = "2026-02-16"
A, B, C = "11111_20260216_090000", "22222_20260216_100000", "33333_20260216_110000"


def rows(world: World) -> dict[str, dict[str, Any]]:
    published = load_day(world.lake, DAY)
    assert published is not None
    table = pq.read_table(io.BytesIO(world.lake.get_bytes(published.parquet))).to_pylist()
    facts = pq.read_table(io.BytesIO(world.lake.get_bytes(published.facts))).to_pylist()
    assert [row["segment_id"] for row in facts] == [row["segment_id"] for row in table]
    assert published.segments == len(table)
    for row in table:
        assert pcm_sha256(decode_flac(row["audio"])) == row["audio_sha256"]
    return {f"{row['session_id']}/{row['file_name']}": row for row in table}


def ingest(world: World, lake: Lake | None = None) -> tuple[str, ...]:
    return ingest_day(world.recordings, DAY, lake or world.lake, world.settings, NOW).read_sessions


def delete_when_read(monkeypatch: pytest.MonkeyPatch, trigger: str, victim: Path) -> None:
    """Delete `victim` for real at the moment in which the file `trigger` is asked for."""
    read = reading_module.read_plain_file

    def reads(path: Path, most_bytes: int) -> bytes:
        if f"{path.parent.name}/{path.name}" == trigger and victim.exists():
            shutil.rmtree(victim)
        return read(path, most_bytes)

    monkeypatch.setattr(reading_module, "read_plain_file", reads)


def test_a_session_deleted_between_scan_and_reading_costs_itself_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (A, B, C):
        write_session(world.recordings, name, 3)
    delete_when_read(monkeypatch, f"{A}/segment_003.wav", world.recordings / B)
    ingest(world)
    assert {key.split("/")[0] for key in rows(world)} == {A, C}
    published = load_day(world.lake, DAY)
    assert published is not None
    assert set(published.inputs) == {A, C}
    reasons = {each.session: each.reason for each in read_set_aside(world.lake, published.set_aside)}
    assert "deleted while it was read" in reasons[B]


def test_what_was_read_of_a_session_before_its_deletion_stays_and_the_rest_comes_with_its_return(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = write_session(world.recordings, B, 4)
    age(session, 24)
    shutil.copytree(session, world.root / "backup")
    with monkeypatch.context() as patch:
        delete_when_read(patch, f"{B}/segment_003.wav", session)
        ingest(world)
    assert sorted(rows(world)) == [f"{B}/segment_001.wav", f"{B}/segment_002.wav"]
    assert rows(world)[f"{B}/segment_001.wav"]["machine_text"] == "texto 1"
    # Restored with every time as it was: what was not read then is read now.
    shutil.copytree(world.root / "backup", session)
    assert [each.day for each in changed_days(world.recordings, world.lake, world.settings, NOW)] == [DAY]
    assert ingest(world) == (B,)
    assert len(rows(world)) == 4
    published = load_day(world.lake, DAY)
    assert published is not None
    assert read_set_aside(world.lake, published.set_aside) == ()


def test_metadata_that_went_first_takes_no_hint_from_what_the_lake_holds(world: World) -> None:
    session = write_session(world.recordings, A, 3)
    age(session, 24)
    ingest(world)
    before = rows(world)
    (session / "metadata.json").unlink()
    (session / "segment_001.wav").unlink()
    assert ingest(world) == (A,)
    assert rows(world) == before


def test_a_file_that_goes_between_listing_and_stat_is_no_fault(world: World) -> None:
    session = write_session(world.recordings, A, 200, seconds=0.01)
    deleting = subprocess.Popen([sys.executable, "-c", f"import shutil; shutil.rmtree({str(session)!r})"])
    while deleting.poll() is None:
        list(changed_days(world.recordings, world.lake, world.settings, NOW))
    assert list(changed_days(world.recordings, world.lake, world.settings, NOW)) == []


CLEAN_UP = """
import pathlib, shutil, sys, time
for path in sys.argv[2:]:
    time.sleep(float(sys.argv[1]))
    shutil.rmtree(path)
"""


@pytest.mark.parametrize("seed", range(6))
def test_whenever_the_clean_up_runs_the_day_is_whole_rows_and_finished_sessions_stay(
    tmp_path: Path, seed: int
) -> None:
    """A real process deletes folders, in Habla's order, while this one reads them."""
    world = make_world(tmp_path)
    names = [f"{number:05d}_20260216_{9 + number:02d}0000" for number in range(6)]
    whole = make_world(tmp_path / "whole")
    for name in names:
        age(write_session(world.recordings, name, 40, seconds=0.2), 24)
    shutil.copytree(world.recordings, whole.recordings, dirs_exist_ok=True)
    ingest_day(whole.recordings, DAY, whole.lake, whole.settings, NOW)
    expected = rows(whole)
    finished = names[:2]
    for name in names[2:]:
        shutil.move(world.recordings / name, tmp_path / name)
    ingest(world)
    for name in names[2:]:
        shutil.move(tmp_path / name, world.recordings / name)
    pause = random.Random(seed).uniform(0, 0.05)
    deleting = subprocess.Popen(
        [sys.executable, "-c", CLEAN_UP, str(pause), *(str(world.recordings / name) for name in names)]
    )
    time.sleep(random.Random(seed).uniform(0, 0.12))
    ingest(world)
    assert deleting.wait() == 0
    found = rows(world)
    assert {key for key in expected if key.split("/")[0] in finished} <= found.keys()
    sound = ("segment_id", "audio", "audio_sha256", "duration_s", "number", "day")
    for key, row in found.items():
        assert {name: row[name] for name in sound} == {name: expected[key][name] for name in sound}
    published = load_day(world.lake, DAY)
    assert published is not None
    for name in published.inputs.keys() & {key.split("/")[0] for key in found}:
        listed = [key for key in found if key.startswith(name)]
        assert len(listed) == 40 or name in {
            each.session for each in read_set_aside(world.lake, published.set_aside)
        }
    assert not list(world.settings.work_folder.glob("recordings-*"))
