"""Sessions that no day can include are listed with their reason, and nothing else is affected."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from habla_ml.lake import catalogue
from habla_ml.recordings.bulk_import import import_with_progress
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.day_range import explain_day_outside, is_day_inside
from habla_ml.recordings.skipped_sessions import find_skipped_sessions
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, HablaWorkspace, make_workspace, set_age, write_session

TOMORROW, NEXT_YEAR, FAR = "t_20261121_003000", "y_20271120_120000", "f_20991231_235959"
RESET, EARLY = "r_19700101_000012", "e_20251231_090000"


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    workspace = make_workspace(tmp_path)
    for name in (A, TOMORROW, NEXT_YEAR, FAR, RESET, EARLY):
        set_age(write_session(workspace.recordings, name, 1, seconds=0.2), 24)
    return workspace


def find_reasons(workspace: HablaWorkspace, now: datetime = NOW) -> dict[str, str]:
    found = find_skipped_sessions(workspace.recordings, workspace.settings, now)
    return {each.session: each.reason for each in found}


def find_days(workspace: HablaWorkspace, now: datetime = NOW) -> list[str]:
    return [each.day for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, now)]


def test_sessions_outside_the_days_are_listed_with_the_reason_and_the_next_step(workspace: HablaWorkspace) -> None:
    reasons = find_reasons(workspace)
    assert set(reasons) == {TOMORROW, NEXT_YEAR, FAR, RESET, EARLY}
    for name in (TOMORROW, NEXT_YEAR, FAR):
        assert "after today (2026-11-20 in Europe/Madrid)" in reasons[name]
        assert "rename the folder" in reasons[name]
    assert "is dated 2099-12-31" in reasons[FAR]
    assert "clock was reset" in reasons[RESET]
    assert "before recordings.first_day (2026-01-01)" in reasons[EARLY]


def test_days_outside_are_not_requested(workspace: HablaWorkspace) -> None:
    assert find_days(workspace) == [DAY]


def test_a_session_of_tomorrow_is_ingested_once_its_day_has_come_in_the_zone_of_the_settings(
    workspace: HablaWorkspace,
) -> None:
    before, after = datetime(2026, 11, 20, 22, 59, 59, tzinfo=UTC), datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    assert find_days(workspace, before) == [DAY]
    assert find_days(workspace, after) == [DAY, "2026-11-21"]
    assert TOMORROW not in find_reasons(workspace, after)


def test_other_entries_are_listed_and_hidden_ones_are_not(workspace: HablaWorkspace) -> None:
    (workspace.recordings / "notes.txt").touch()
    (workspace.recordings / ".DS_Store").touch()
    (workspace.recordings / "x_20260216_250000").mkdir()
    (workspace.recordings / "file_20260216_110000").touch()
    (workspace.recordings / "link_20260216_120000").symlink_to(workspace.recordings / A)
    (workspace.recordings / os.fsdecode(b"\xff_20260216_130000")).mkdir()
    reasons = find_reasons(workspace)
    name = "is not named <session>_<YYYYMMDD_HHMMSS>"
    assert reasons["notes.txt"] == reasons["x_20260216_250000"] == reasons["\\udcff_20260216_130000"] == name
    assert reasons["file_20260216_110000"] == "is not a folder"
    assert "symbolic link" in reasons["link_20260216_120000"]
    assert ".DS_Store" not in reasons


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_listed(workspace: HablaWorkspace) -> None:
    (workspace.recordings / A).chmod(0)
    assert find_reasons(workspace)[A] == "cannot be listed: Permission denied; fix its permissions"


@pytest.mark.long
def test_an_import_keeps_the_good_days_and_reports_the_sessions_outside(workspace: HablaWorkspace) -> None:
    done = import_with_progress(workspace.recordings, workspace.settings, 1, Console(file=io.StringIO()))
    assert DAY in {each.day for each in done.imported}
    assert {each.session for each in done.skipped_sessions} >= {FAR, RESET, EARLY}
    days = set(catalogue.RECORDINGS.keys(workspace.lake))
    assert not days & {"2099-12-31", "1970-01-01", "2025-12-31"}
    assert not done.failed
    assert "entries of the folder skipped" in done.summary


@pytest.mark.parametrize("day", ["2026-01-01", "2026-11-20"])
def test_the_first_day_and_today_are_inside(workspace: HablaWorkspace, day: str) -> None:
    assert is_day_inside(day, workspace.settings, NOW)
    assert explain_day_outside(day, workspace.settings, NOW) is None
