"""Habla's clean-up deletes folders while they are read; finished sessions stay complete."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from habla_ml.audio import decode_flac, pcm_sha256
from habla_ml.lake import Lake
from habla_ml.lake.table import read_table
from habla_ml.recordings import day_reader as day_reader_module
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.days import load_day, read_skipped_inputs
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_workspace, set_age, write_session

DAY = "2026-02-16"
A, B, C = "11111_20260216_090000", "22222_20260216_100000", "33333_20260216_110000"


def read_checked_rows(workspace: HablaWorkspace) -> dict[str, dict[str, Any]]:
    published = load_day(workspace.lake, DAY)
    assert published is not None
    table = read_table(workspace.lake, published.parquet).to_pylist()
    metadata = read_table(workspace.lake, published.metadata).to_pylist()
    assert [row["segment_id"] for row in metadata] == [row["segment_id"] for row in table]
    assert published.segments == len(table)
    for row in table:
        assert pcm_sha256(decode_flac(row["audio"])) == row["audio_sha256"]
    return {f"{row['session_id']}/{row['file_name']}": row for row in table}


def read_sessions_of_ingest(workspace: HablaWorkspace, lake: Lake | None = None) -> tuple[str, ...]:
    return ingest_day(workspace.recordings, DAY, lake or workspace.lake, workspace.settings, NOW).read_sessions


def delete_when_read(monkeypatch: pytest.MonkeyPatch, trigger: str, victim: Path) -> None:
    """Delete `victim` when the file `trigger` is opened."""
    read = day_reader_module.read_plain_file

    def reads(path: Path, max_bytes: int) -> bytes:
        if f"{path.parent.name}/{path.name}" == trigger and victim.exists():
            shutil.rmtree(victim)
        return read(path, max_bytes)

    monkeypatch.setattr(day_reader_module, "read_plain_file", reads)


def test_a_session_deleted_before_reading_does_not_affect_others(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (A, B, C):
        write_session(workspace.recordings, name, 3)
    delete_when_read(monkeypatch, f"{A}/segment_003.wav", workspace.recordings / B)
    read_sessions_of_ingest(workspace)
    assert {key.split("/")[0] for key in read_checked_rows(workspace)} == {A, C}
    published = load_day(workspace.lake, DAY)
    assert published is not None
    assert set(published.inputs) == {A, C}
    reasons = {each.session: each.reason for each in read_skipped_inputs(workspace.lake, published.set_aside)}
    assert "deleted while it was read" in reasons[B]


def test_a_partly_deleted_session_is_completed_when_it_returns(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = write_session(workspace.recordings, B, 4)
    set_age(session, 24)
    shutil.copytree(session, workspace.root / "backup")
    with monkeypatch.context() as patch:
        delete_when_read(patch, f"{B}/segment_003.wav", session)
        read_sessions_of_ingest(workspace)
    assert sorted(read_checked_rows(workspace)) == [f"{B}/segment_001.wav", f"{B}/segment_002.wav"]
    assert read_checked_rows(workspace)[f"{B}/segment_001.wav"]["machine_text"] == "texto 1"
    # Restored with all times: the unread segments are read now.
    shutil.copytree(workspace.root / "backup", session)
    assert [each.day for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)] == [
        DAY
    ]
    assert read_sessions_of_ingest(workspace) == (B,)
    assert len(read_checked_rows(workspace)) == 4
    published = load_day(workspace.lake, DAY)
    assert published is not None
    assert read_skipped_inputs(workspace.lake, published.set_aside) == ()


def test_deleted_metadata_does_not_remove_hints_from_the_lake(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 3)
    set_age(session, 24)
    read_sessions_of_ingest(workspace)
    before = read_checked_rows(workspace)
    (session / "metadata.json").unlink()
    (session / "segment_001.wav").unlink()
    assert read_sessions_of_ingest(workspace) == (A,)
    assert read_checked_rows(workspace) == before


def test_a_file_deleted_during_the_listing_is_left_out(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 200, seconds=0.01)
    deleting = subprocess.Popen([sys.executable, "-c", f"import shutil; shutil.rmtree({str(session)!r})"])
    while deleting.poll() is None:
        list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW))
    assert list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)) == []


CLEAN_UP_SCRIPT = """
import pathlib, shutil, sys, time
for path in sys.argv[2:]:
    time.sleep(float(sys.argv[1]))
    shutil.rmtree(path)
"""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_a_clean_up_at_any_step_leaves_complete_rows_and_finished_sessions(tmp_path: Path, seed: int) -> None:
    """A second process deletes folders in Habla's order while this one reads them."""
    workspace = make_workspace(tmp_path)
    names = [f"{number:05d}_20260216_{9 + number:02d}0000" for number in range(6)]
    whole = make_workspace(tmp_path / "whole")
    for name in names:
        set_age(write_session(workspace.recordings, name, 40, seconds=0.2), 24)
    shutil.copytree(workspace.recordings, whole.recordings, dirs_exist_ok=True)
    ingest_day(whole.recordings, DAY, whole.lake, whole.settings, NOW)
    expected = read_checked_rows(whole)
    finished = names[:2]
    for name in names[2:]:
        shutil.move(workspace.recordings / name, tmp_path / name)
    read_sessions_of_ingest(workspace)
    for name in names[2:]:
        shutil.move(tmp_path / name, workspace.recordings / name)
    pause = random.Random(seed).uniform(0, 0.05)
    deleting = subprocess.Popen(
        [sys.executable, "-c", CLEAN_UP_SCRIPT, str(pause), *(str(workspace.recordings / name) for name in names)]
    )
    time.sleep(random.Random(seed).uniform(0, 0.12))
    read_sessions_of_ingest(workspace)
    assert deleting.wait() == 0
    found = read_checked_rows(workspace)
    assert {key for key in expected if key.split("/")[0] in finished} <= found.keys()
    sound = ("segment_id", "audio", "audio_sha256", "duration_s", "number", "day")
    for key, row in found.items():
        assert {name: row[name] for name in sound} == {name: expected[key][name] for name in sound}
    published = load_day(workspace.lake, DAY)
    assert published is not None
    for name in published.inputs.keys() & {key.split("/")[0] for key in found}:
        listed = [key for key in found if key.startswith(name)]
        assert len(listed) == 40 or name in {
            each.session for each in read_skipped_inputs(workspace.lake, published.set_aside)
        }
    assert not list(workspace.settings.work_folder.glob("scratch/*"))
