"""The walk over Habla's folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from habla_ml.errors import InputError
from habla_ml.recordings.sessions import parse_session_start, read_plain_file, scan_sessions, to_utc
from habla_ml_tests.testing.habla_sessions import NOW, make_workspace, set_age, write_session

MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        (datetime(2026, 2, 16, 14, 30), datetime(2026, 2, 16, 13, 30, tzinfo=UTC)),
        (datetime(2026, 7, 1, 14, 30), datetime(2026, 7, 1, 12, 30, tzinfo=UTC)),
        # 25 October 2026: 02:30 exists twice, first in summer time.
        (datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, fold=1), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        # 29 March 2026: 02:30 does not exist and becomes 03:30 in summer time.
        (datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (datetime(2026, 3, 29, 2, 30, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC)),
    ],
)
def test_naive_times_are_in_hablas_zone_even_when_clocks_change(local: datetime, utc: datetime) -> None:
    assert to_utc(local, MADRID) == utc


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("12345_20260216_143022", datetime(2026, 2, 16, 14, 30, 22)),
        ("mi_clase_3_20260216_000000", datetime(2026, 2, 16)),
        ("12345_20261316_143022", None),
        ("12345_20260216", None),
        ("_20260216_143022", None),
        ("a\u202eb_20260216_143022", None),
        ("12345_20260216_143022.bak", None),
    ],
)
def test_the_name_of_a_session_folder_has_its_start(name: str, start: datetime | None) -> None:
    assert parse_session_start(name) == start


def test_a_session_is_finished_live_crashed_or_empty(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    for name, metadata, hours in [("fin", True, 0.1), ("live", False, 0.1), ("crash", False, 13)]:
        set_age(write_session(workspace.recordings, f"{name}_20260216_100000", metadata=metadata), hours)
    set_age(write_session(workspace.recordings, "void_20260216_100000", 0), 1)
    set_age(write_session(workspace.recordings, "young_20260216_100000", 0, metadata=False), 1)
    set_age(write_session(workspace.recordings, "old_20260216_100000", 0, metadata=False), 13)
    scan = scan_sessions(workspace.recordings, workspace.settings, NOW)
    states = {each.name.partition("_")[0]: each.state for each in scan.sessions}
    assert states == {
        "fin": "finished",
        "live": "live",
        "crash": "crashed",
        "void": "empty",
        "young": "live",
        "old": "empty",
    }


def test_a_scan_of_one_day_leaves_out_the_others_and_reports_other_names(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    write_session(workspace.recordings, "a_20260216_235959", 1)
    write_session(workspace.recordings, "b_20260217_000000", 1)
    (workspace.recordings / "notas").mkdir()
    (workspace.recordings / "c_20260216_100000").write_text("a file")
    scan = scan_sessions(workspace.recordings, workspace.settings, NOW, "2026-02-16")
    assert [each.name for each in scan.sessions] == ["a_20260216_235959"]
    assert [(each.session, each.reason) for each in scan.ignored] == [("c_20260216_100000", "is not a folder")]
    assert "notas" in {each.session for each in scan_sessions(workspace.recordings, workspace.settings, NOW).ignored}


def test_a_link_to_a_folder_is_not_a_session(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    outside = write_session(tmp_path / "outside", "x_20260216_100000")
    (workspace.recordings / "x_20260216_100000").symlink_to(outside)
    scan = scan_sessions(workspace.recordings, workspace.settings, NOW)
    assert not scan.sessions
    assert "symbolic link" in scan.ignored[0].reason


def test_a_missing_recordings_folder_is_an_error_with_the_setting(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with pytest.raises(InputError, match=r"recordings\.folder"):
        scan_sessions(tmp_path / "nowhere", workspace.settings, NOW)


def test_segments_above_999_are_in_order(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    session = write_session(workspace.recordings, "a_20260216_100000", 0)
    for number in (1000, 2, 999, 10):
        (session / f"segment_{number:03d}.wav").touch()
    scan = scan_sessions(workspace.recordings, workspace.settings, NOW)
    assert [each.number for each in scan.sessions[0].segments] == [2, 10, 999, 1000]


def test_links_pipes_folders_and_large_files_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(secret)
    os.mkfifo(pipe)
    for path, reason in [
        (link, "symbolic link"),
        (pipe, "pipe"),
        (tmp_path, "folder"),
        (tmp_path / "no", "cannot"),
    ]:
        with pytest.raises(InputError, match=reason):
            read_plain_file(path, 100)
    with pytest.raises(InputError, match="6 bytes, more than the 5"):
        read_plain_file(secret, 5)
    assert read_plain_file(secret, 6) == b"secret"
