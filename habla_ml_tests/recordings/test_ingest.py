"""Ingest publishes a day completely and skips broken files with a reason."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from habla_ml.audio import decode_flac, pcm_sha256
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake
from habla_ml.lake.table import open_table, read_table
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.days import DayUpdate, load_day, publish_day
from habla_ml.recordings.ingest import IngestedDay, ingest_day
from habla_ml.recordings.segments import ROW_GROUP_SIZE, SEGMENT_SCHEMA, RecordedSegment, read_segment_metadata
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


def read_rows(workspace: HablaWorkspace, day: IngestedDay) -> list[dict[str, object]]:
    table = read_table(workspace.lake, day.parquet)
    assert table.schema.equals(SEGMENT_SCHEMA)
    return list(table.to_pylist())


def list_object_paths(workspace: HablaWorkspace) -> set[Path]:
    return {path for path in (workspace.root / "lake" / "objects").rglob("*") if path.is_file()}


def read_skip_reasons_by_file(day: IngestedDay) -> dict[str, str]:
    return {f"{each.session}/{each.file}": each.reason for each in day.skipped_inputs}


def test_the_segments_of_a_day_are_stored_losslessly_with_measurements(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    day = ingest_into(workspace)
    found = read_rows(workspace, day)
    assert [row["file_name"] for row in found] == ["segment_001.wav", "segment_002.wav"]
    pcm, _ = soundfile.read(session / "segment_001.wav", dtype="float32")
    assert np.array_equal(decode_flac(found[0]["audio"]), pcm)  # type: ignore[arg-type]
    assert found[0]["audio_sha256"] == pcm_sha256(pcm)
    assert found[0]["duration_s"] == pytest.approx(0.4)
    assert found[0]["loudness_dbfs"] == pytest.approx(20 * np.log10(2000 / 32768), abs=0.5)
    assert (found[0]["speaker"], found[0]["machine_text"], found[0]["day"]) == ("Speaker A", "texto 1", DAY)
    assert day.segments == 2
    assert day.hours == pytest.approx(0.8 / 3600, abs=1e-9)
    metadata = list(read_segment_metadata(workspace.lake, day.metadata))
    assert metadata == [{key: value for key, value in row.items() if key != "audio"} for row in found]


def test_the_same_input_gives_the_same_object_in_every_lake(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 3)
    write_session(workspace.recordings, B, 2)
    first, before = ingest_into(workspace), list_object_paths(workspace)
    again = ingest_into(workspace)
    assert (again.parquet, again.read_sessions) == (first.parquet, ())
    assert list_object_paths(workspace) == before
    other = make_workspace(tmp_path / "other")
    shutil.copytree(workspace.recordings, other.recordings, dirs_exist_ok=True)
    assert ingest_into(other).parquet == first.parquet


def test_the_order_of_ingest_does_not_change_the_object(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, B, 2)
    ingest_into(workspace)
    write_session(workspace.recordings, A, 3)
    grown = ingest_into(workspace)
    assert grown.read_sessions == (A,)
    other = make_workspace(tmp_path / "other")
    shutil.copytree(workspace.recordings, other.recordings, dirs_exist_ok=True)
    assert ingest_into(other).parquet == grown.parquet


def test_sessions_that_habla_deletes_stay_in_the_lake(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 2)
    write_session(workspace.recordings, B, 2)
    first = ingest_into(workspace)
    shutil.rmtree(workspace.recordings / A)
    (workspace.recordings / B / "segment_001.wav").unlink()
    second = ingest_into(workspace)
    assert second.parquet == first.parquet
    shutil.rmtree(workspace.recordings / B)
    assert list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)) == []
    assert ingest_into(workspace).parquet == first.parquet


def test_changed_days_leave_out_live_sessions(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 1)
    live = write_session(workspace.recordings, "33333_20260217_090000", 1, metadata=False)
    set_age(live, 0.5)
    changed = list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW))
    assert [each.day for each in changed] == [DAY]
    assert ingest_into(workspace).sessions == {"finished": 1, "crashed": 0, "live": 0, "empty": 0, "lake": 1}
    assert list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)) == []
    write_json(live / "metadata.json", {"segments": []})
    assert [each.day for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)] == [
        "2026-02-17"
    ]
    write_session(workspace.recordings, B, 1)
    after = {
        each.day: each.fingerprint
        for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)
    }
    assert after[DAY] != changed[0].fingerprint


def test_days_before_the_first_partition_are_left_out(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, recordings={"first_day": "2026-02-17"})
    write_session(workspace.recordings, A, 1)
    assert list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)) == []


def test_a_live_session_waits_and_a_crashed_one_is_read_without_metadata(workspace: HablaWorkspace) -> None:
    set_age(write_session(workspace.recordings, A, 1, metadata=False), 1)
    set_age(write_session(workspace.recordings, B, 2, metadata=False), 13)
    day = ingest_into(workspace)
    assert {row["session_id"] for row in read_rows(workspace, day)} == {B}
    assert read_skip_reasons_by_file(day) == {
        f"{B}/metadata.json": "is missing because the session crashed; segments are read without it"
    }
    assert read_rows(workspace, day)[0]["speaker"] is None


def test_a_later_ground_truth_changes_only_the_hints(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    before = read_rows(workspace, ingest_into(workspace))
    write_json(
        session / "ground_truth.json",
        {"direction": "es_to_en", "segments": [{"filename": "segment_001.wav", "transcript": "Hola."}]},
    )
    after = read_rows(workspace, ingest_into(workspace))
    assert [row["machine_text"] for row in after] == ["Hola.", "texto 2"]
    assert [row["segment_id"] for row in after] == [row["segment_id"] for row in before]


def test_corrections_do_not_change_the_recordings(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    ingest_into(workspace)
    write_json(session / "corrected_ground_truth.json", {"segments": []})
    assert list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW)) == []


def test_an_english_session_is_skipped_even_after_it_was_ingested(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    write_session(workspace.recordings, B, 1)
    assert ingest_into(workspace).segments == 3
    write_json(session / "ground_truth.json", {"direction": "en_to_es", "segments": []})
    day = ingest_into(workspace)
    assert {row["session_id"] for row in read_rows(workspace, day)} == {B}
    assert read_skip_reasons_by_file(day) == {f"{A}/": "is spoken in English (en_to_es): no corpus material"}


def test_broken_files_are_skipped_and_the_others_are_read(workspace: HablaWorkspace, tmp_path: Path) -> None:
    session = write_session(workspace.recordings, A, 12)
    good = (session / "segment_001.wav").read_bytes()
    (session / "segment_002.wav").write_bytes(good[:-1001])
    (session / "segment_003.wav").write_bytes(b"")
    write_wav(session / "segment_004.wav", np.zeros(0, dtype=np.int16))
    (session / "segment_005.wav").write_text("Hola, esto es texto.")
    write_wav(session / "segment_006.wav", make_noise(31))
    (tmp_path / "secret.wav").write_bytes(good)
    for number in (7, 8, 9):
        (session / f"segment_{number:03d}.wav").unlink()
    (session / "segment_007.wav").symlink_to(tmp_path / "secret.wav")
    (session / "segment_008.wav").mkdir()
    os.mkfifo(session / "segment_009.wav")
    (session / "segment_010 (copia).wav").write_bytes(good)
    (session / "segment_012.wav").unlink()
    day = ingest_into(workspace)
    assert [row["number"] for row in read_rows(workspace, day)] == [1, 10, 11]
    expected = {
        "segment_002.wav": "cut off",
        "segment_003.wav": "empty",
        "segment_004.wav": "no sound",
        "segment_005.wav": "no WAV",
        "segment_006.wav": "31.0 s",
        "segment_007.wav": "symbolic link",
        "segment_008.wav": "folder",
        "segment_009.wav": "pipe",
        "segment_010 (copia).wav": "not named",
        "segment_012.wav": "does not exist",
    }
    found = read_skip_reasons_by_file(day)
    assert set(found) == {f"{A}/{name}" for name in expected}
    for name, reason in expected.items():
        assert reason in found[f"{A}/{name}"]


def test_stereo_48_khz_8_bit_and_float_files_are_read(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 0)
    sound = make_noise(0.5).astype(np.float32) / 32768
    soundfile.write(session / "segment_001.wav", np.stack([sound, sound], axis=1), 16_000)
    soundfile.write(session / "segment_002.wav", np.repeat(sound, 3), 48_000)
    soundfile.write(session / "segment_003.wav", sound, 16_000, subtype="PCM_U8")
    soundfile.write(session / "segment_004.wav", sound, 16_000, subtype="FLOAT")
    day = ingest_into(workspace)
    assert [row["duration_s"] for row in read_rows(workspace, day)] == [pytest.approx(0.5, abs=1e-3)] * 4
    assert day.skipped_inputs == ()


def test_invalid_metadata_removes_only_the_hints(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    (session / "metadata.json").write_text("{oops")
    day = ingest_into(workspace)
    assert day.segments == 2
    assert "not JSON" in read_skip_reasons_by_file(day)[f"{A}/metadata.json"]
    write_session(workspace.recordings, A, 2)
    fixed = ingest_into(workspace)
    assert fixed.skipped_inputs == ()
    assert read_rows(workspace, fixed)[0]["speaker"] == "Speaker A"


def test_a_segment_damaged_after_its_ingest_stays_in_the_lake(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    first = ingest_into(workspace)
    path = session / "segment_002.wav"
    path.write_bytes(path.read_bytes()[:-100])
    second = ingest_into(workspace)
    assert second.parquet == first.parquet
    assert "cut off" in read_skip_reasons_by_file(second)[f"{A}/segment_002.wav"]


@contextmanager
def drop_root_privileges() -> Iterator[None]:
    """Run without the rights of root, because root can read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_and_an_unreadable_session_are_skipped() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o777)
        with drop_root_privileges():
            workspace = make_workspace(root)
            session = write_session(workspace.recordings, A, 2)
            other = write_session(workspace.recordings, B, 1)
        warm = make_workspace(root / "warm")
        write_session(warm.recordings, A, 1)
        ingest_into(warm)  # imports modules that an unprivileged process may be unable to import
        (session / "segment_002.wav").chmod(0)
        other.chmod(0)
        with drop_root_privileges():
            day = ingest_into(workspace)
        other.chmod(0o755)
        assert [row["number"] for row in read_rows(workspace, day)] == [1]
        assert "Permission denied" in read_skip_reasons_by_file(day)[f"{A}/segment_002.wav"]
        assert "Permission denied" in read_skip_reasons_by_file(day)[f"{B}/"]
        assert ingest_into(workspace).sessions["lake"] == 2


@pytest.mark.long
def test_a_day_of_many_row_groups_keeps_order_and_identity(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, ROW_GROUP_SIZE + 20, seconds=0.01)
    write_session(workspace.recordings, B, ROW_GROUP_SIZE, seconds=0.01)
    day = ingest_into(workspace)
    found = read_rows(workspace, day)
    file = open_table(workspace.lake, day.parquet)
    assert file.metadata.num_row_groups == 3
    keys = [(str(row["session_id"]), int(str(row["number"]))) for row in found]
    assert keys == sorted(keys)
    assert len({row["segment_id"] for row in found}) == len(found) == 2 * ROW_GROUP_SIZE + 20


def test_a_folder_restored_from_a_backup_gives_the_same_segments(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 2)
    first = ingest_into(workspace)
    shutil.copytree(session, workspace.root / "backup")
    shutil.rmtree(session)
    shutil.copytree(workspace.root / "backup", session, copy_function=shutil.copyfile)
    assert ingest_into(workspace).parquet == first.parquet


def test_an_empty_day_is_published_as_one(workspace: HablaWorkspace) -> None:
    day = ingest_into(workspace)
    assert (day.segments, day.hours, day.skipped_inputs) == (0, 0.0, ())
    assert read_rows(workspace, day) == []


class _RacingLake(Lake):
    """A lake in which another writer moves the pointer between reading and moving it."""

    overtake: bool = True

    def adopt_file(self, path: Path) -> str:
        if self.overtake:
            self.overtake = False
            other = Lake(self._store, self._cache.folder)
            publish_day(other, DAY, [], path.parent / "w", DayUpdate(inputs={"other": "1"}))
        return super().adopt_file(path)


def test_the_second_of_two_writers_of_a_day_fails_and_can_run_again(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 1)
    lake = _RacingLake(workspace.lake._store, workspace.lake._cache.folder)
    with pytest.raises(PointerMovedError):
        ingest_day(workspace.recordings, DAY, lake, workspace.settings, NOW)
    assert ingest_day(workspace.recordings, DAY, lake, workspace.settings, NOW).segments == 1
    published = load_day(lake, DAY)
    assert published is not None
    assert set(published.inputs) == {A, "other"}


def test_a_work_folder_that_cannot_be_written_is_an_error_and_publishes_nothing(
    workspace: HablaWorkspace,
) -> None:
    write_session(workspace.recordings, A, 1)
    (workspace.root / "file").write_text("not a folder")
    settings = workspace.settings.model_copy(update={"work_folder": workspace.root / "file"})
    with pytest.raises(LakeError, match="work_folder"):
        ingest_day(workspace.recordings, DAY, workspace.lake, settings, NOW)
    assert load_day(workspace.lake, DAY) is None


def test_a_new_row_replaces_the_row_with_the_same_identity(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, A, 1)
    day = ingest_into(workspace)
    row = RecordedSegment(**read_rows(workspace, day)[0])  # type: ignore[arg-type]
    publish_day(workspace.lake, DAY, [replace(row, speaker="Marta")], workspace.settings.work_folder)
    assert [row["speaker"] for row in read_rows(workspace, ingest_into(workspace))] == ["Marta"]
