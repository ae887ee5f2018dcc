"""The bulk import: several days at once, resumed after a kill, with the error of one day reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from habla_ml.errors import InputError
from habla_ml.recordings.bulk_import import import_with_progress
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import save_settings
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_workspace, set_age, write_session
from habla_ml_tests.testing.imported_days import list_object_names, make_silent_console, read_day_pointers

DAYS = [f"2026-03-{number:02d}" for number in range(1, 13)]


def fill_recordings(workspace: HablaWorkspace, segments: int = 3) -> None:
    for number, day in enumerate(DAYS):
        for lesson in range(2):
            name = f"{number}{lesson}_{day.replace('-', '')}_{9 + lesson:02d}0000"
            set_age(write_session(workspace.recordings, name, segments, seconds=0.2), 48)


@contextmanager
def start_import(workspace: HablaWorkspace) -> Iterator[subprocess.Popen[bytes]]:
    profile = save_settings(workspace.settings, workspace.root / "profile")
    command = [
        sys.executable,
        "-c",
        "from habla_ml.cli.main import main; main()",
        "import",
        str(workspace.recordings),
    ]
    process = subprocess.Popen(
        [*command, "--processes", "2", "-p", str(profile)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_import_completes_on_the_next_run_and_leaves_no_process(tmp_path: Path) -> None:
    workspace, whole = make_workspace(tmp_path / "a"), make_workspace(tmp_path / "b")
    fill_recordings(workspace, 30)
    fill_recordings(whole, 30)
    import_with_progress(whole.recordings, whole.settings, 1, make_silent_console())
    with start_import(workspace) as process:
        while not read_day_pointers(workspace):
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert 0 < len(read_day_pointers(workspace)) < len(DAYS)
    with start_import(workspace) as process:
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output
    assert "days unchanged" in output
    assert read_day_pointers(workspace) == read_day_pointers(whole)
    assert list_object_names(whole) == list_object_names(workspace)


@pytest.mark.slow
def test_a_failed_day_is_reported_and_the_other_days_are_imported(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    fill_recordings(workspace)
    blocked = tmp_path / "lake" / "pointers" / "recordings" / f"{DAYS[4]}.json"
    blocked.mkdir(parents=True)
    done = import_with_progress(workspace.recordings, workspace.settings, 2, make_silent_console())
    assert [each.day for each in done.failed] == [DAYS[4]]
    assert "PointerMovedError" in done.failed[0].error
    assert [each.day for each in done.imported] == [day for day in DAYS if day != DAYS[4]]
    assert (len(done.imported[0].read_sessions), done.imported[0].segments) == (2, 6)
    assert done.imported[0].hours == pytest.approx(6 * 0.2 / 3600, abs=1e-8)
    blocked.rmdir()
    again = import_with_progress(workspace.recordings, workspace.settings, 2, make_silent_console())
    assert ([each.day for each in again.imported], again.failed, again.unchanged_days) == ([DAYS[4]], (), 11)


@pytest.mark.slow
def test_an_import_equals_the_ingest_of_each_day_and_skips_early_days(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "a", recordings={"first_day": DAYS[2]})
    one_by_one = make_workspace(tmp_path / "b")
    fill_recordings(workspace)
    fill_recordings(one_by_one)
    done = import_with_progress(workspace.recordings, workspace.settings, 2, make_silent_console())
    assert (len(done.imported), len(done.skipped_sessions)) == (10, 4)
    assert all("before recordings.first_day" in each.reason for each in done.skipped_sessions)
    assert "4 entries of the folder skipped" in done.summary
    for day in DAYS[2:]:
        ingest_day(one_by_one.recordings, day, one_by_one.lake, one_by_one.settings, NOW)
    assert read_day_pointers(workspace) == read_day_pointers(one_by_one)


def test_a_folder_without_sessions_is_an_error(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with pytest.raises(InputError, match="has no folder named"):
        import_with_progress(workspace.recordings, workspace.settings, 1, make_silent_console())
    with pytest.raises(InputError, match="cannot be listed"):
        import_with_progress(tmp_path / "nowhere", workspace.settings, 1, make_silent_console())


@pytest.mark.slow
def test_a_crashed_session_that_was_just_copied_is_named_and_comes_in_later(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    folder = write_session(workspace.recordings, "1_20260302_090000", 2, seconds=0.2)
    (folder / "metadata.json").unlink()
    done = import_with_progress(workspace.recordings, workspace.settings, 1, make_silent_console())
    assert (done.imported, [each.session for each in done.skipped_sessions]) == ((), [folder.name])
    assert "changed less than 12 h ago, so that it may still be recorded" in done.skipped_sessions[0].reason
    assert "1 entries of the folder skipped" in done.summary
    for each in (*folder.iterdir(), folder):
        os.utime(each, (time.time() - 13 * 3600,) * 2)
    done = import_with_progress(workspace.recordings, workspace.settings, 1, make_silent_console())
    assert ([each.segments for each in done.imported], done.skipped_sessions) == ([2], ())
