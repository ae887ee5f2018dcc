"""A sensor tick finds changed days and does not list unchanged sessions."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.lake.table import read_table
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    B,
    HablaWorkspace,
    ingest_into,
    make_noise,
    make_workspace,
    set_age,
    write_json,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.opened_files import record_opened_files


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    workspace = make_workspace(tmp_path)
    set_age(write_session(workspace.recordings, A, 2), 24)
    ingest_into(workspace)
    return workspace


def find_days(workspace: HablaWorkspace, now: datetime = NOW) -> list[str]:
    return [each.day for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, now)]


def read_input_signature(workspace: HablaWorkspace) -> str:
    published = load_day(workspace.lake, DAY)
    assert published is not None
    return published.inputs[A]


def list_scanned_folders(workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the folders of Habla that a tick lists."""
    listed: list[str] = []
    scandir = os.scandir

    def listing(path: str | Path) -> object:
        if Path(path).is_relative_to(workspace.recordings):
            listed.append(Path(path).name)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", listing)
        assert find_days(workspace) == []
    return listed


def test_a_tick_without_changes_lists_no_session(workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert " " in read_input_signature(workspace)
    assert list_scanned_folders(workspace, monkeypatch) == [workspace.recordings.name]


def test_a_correction_changes_the_stat_signature_once(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_input_signature(workspace)
    correction = workspace.recordings / A / "corrected_ground_truth.json"
    write_json(correction, {"segments": []})
    for path in (correction, correction.parent):
        os.utime(path, (NOW.timestamp() - 3600,) * 2)
    assert A in list_scanned_folders(workspace, monkeypatch)
    assert read_input_signature(workspace).split()[0] == before.split()[0]
    assert read_input_signature(workspace) != before
    assert list_scanned_folders(workspace, monkeypatch) == [workspace.recordings.name]
    assert ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW).read_sessions == ()


@pytest.mark.parametrize("name", ["segment_003.wav", "ground_truth.json"])
def test_a_new_file_changes_the_day(workspace: HablaWorkspace, name: str) -> None:
    path = workspace.recordings / A / name
    if name.endswith(".wav"):
        write_wav(path, make_noise(0.2, 9))
    else:
        write_json(path, {"segments": []})
    assert find_days(workspace) == [DAY]
    ingest_into(workspace)
    assert find_days(workspace) == []


def test_rewritten_json_changes_the_day(workspace: HablaWorkspace) -> None:
    path = workspace.recordings / A / "metadata.json"
    folder = path.parent.stat()
    path.write_text(path.read_text().replace("texto 1", "textos 1"))
    os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))
    assert find_days(workspace) == [DAY]


def test_a_segment_that_grows_after_metadata_is_read_again(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    now = datetime.now(UTC) + timedelta(seconds=5)
    session = write_session(workspace.recordings, A, 2)
    path = session / "segment_002.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    ingest_into(workspace, now=now)
    assert " " not in read_input_signature(workspace)
    path.write_bytes(whole)
    assert find_days(workspace, now) == [DAY]
    assert ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, now).skipped_inputs == ()


def test_new_bounds_or_a_new_zone_change_every_day(workspace: HablaWorkspace) -> None:
    for section in ({"recordings": {"longest_segment_s": 10.0}}, {"recordings": {"keep_raw_stream": True}}):
        other = make_workspace(workspace.root, **section)
        assert find_days(other) == [DAY]
    assert find_days(HablaWorkspace(workspace.root, workspace.recordings, workspace.lake, workspace.settings.model_copy(
        update={"time_zone": "Atlantic/Canary"}
    ))) == [DAY]  # fmt: skip


def test_a_restored_backup_gives_no_new_object(workspace: HablaWorkspace) -> None:
    before = load_day(workspace.lake, DAY)
    session = workspace.recordings / A
    shutil.copytree(session, workspace.root / "backup")
    shutil.rmtree(session)
    assert find_days(workspace) == []
    shutil.copytree(workspace.root / "backup", session)  # keeps all times except the folder's
    age_folder = NOW.timestamp() - 3600
    os.utime(session, (age_folder, age_folder))
    assert find_days(workspace) == []
    shutil.rmtree(session)
    shutil.copytree(workspace.root / "backup", session, copy_function=shutil.copyfile)  # loses the times
    assert find_days(workspace) == [DAY]
    ingest_into(workspace)
    after = load_day(workspace.lake, DAY)
    assert before is not None
    assert after is not None
    assert (after.parquet, after.metadata, after.hours) == (before.parquet, before.metadata, before.hours)
    assert find_days(workspace) == []


def test_the_same_audio_under_two_names_is_two_segments_of_one_sound(workspace: HablaWorkspace) -> None:
    session = workspace.recordings / A
    shutil.copy(session / "segment_001.wav", session / "segment_003.wav")
    shutil.copytree(session, workspace.recordings / B)
    table = read_table(workspace.lake, ingest_into(workspace).parquet).to_pylist()
    same = [row for row in table if row["audio_sha256"] == table[0]["audio_sha256"]]
    assert [(row["session_id"], row["number"]) for row in same] == [(A, 1), (A, 3), (B, 1), (B, 3)]
    assert len({row["segment_id"] for row in same}) == 4


def test_the_raw_stream_is_archived_if_the_setting_is_on(workspace: HablaWorkspace) -> None:
    stream = workspace.recordings / A / "raw_stream.webm"
    stream.write_bytes(b"\x1aE\xdf\xa3" + bytes(range(256)) * 5000)
    ingest_into(workspace)
    plain = load_day(workspace.lake, DAY)
    assert plain is not None
    assert plain.raw_streams == {}
    archiving = make_workspace(workspace.root, recordings={"keep_raw_stream": True})
    parquet = ingest_into(archiving).parquet
    kept = load_day(archiving.lake, DAY)
    assert kept is not None
    assert parquet == plain.parquet
    assert archiving.lake.get_bytes(kept.raw_streams[A][0].object_id) == stream.read_bytes()
    stream.unlink()
    stream.symlink_to(workspace.root / "elsewhere")
    day = ingest_day(archiving.recordings, DAY, archiving.lake, archiving.settings, NOW)
    assert ("raw_stream.webm", "is a symbolic link; only plain files are read") in {
        (each.file, each.reason) for each in day.skipped_inputs
    }
    shutil.rmtree(workspace.recordings / A)
    set_age(write_session(archiving.recordings, B, 1), 24)
    ingest_into(archiving)
    after = load_day(archiving.lake, DAY)
    assert after is not None
    assert after.raw_streams == kept.raw_streams


def test_a_day_with_one_more_session_opens_the_recordings_of_that_session_only(workspace: HablaWorkspace) -> None:
    set_age(write_session(workspace.recordings, B, 3), 24)
    for expected in (["segment_001.wav", "segment_002.wav", "segment_003.wav"], []):
        with record_opened_files(".wav") as opened:
            assert ingest_into(workspace).segments == 5
        assert opened == expected
