"""How soon Habla deletes what the lake does not have, against Habla's own clean-up on real folders."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest

from habla_ml.errors import InputError
from habla_ml.recordings.unsaved_sessions import survey_folder
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    set_age,
    write_session,
)

LIMIT = 4


def delete_oldest(folder: Path) -> list[str]:
    """Delete as `_cleanup_old_recordings` of Habla does, and return the names."""
    sessions = sorted(folder.glob("*_*"), key=lambda path: path.stat().st_ctime)
    deleted = [sessions.pop(0) for _ in range(max(0, len(sessions) - LIMIT))]
    for each in deleted:
        shutil.rmtree(each)
    return [each.name for each in deleted]


def add_session(workspace: HablaWorkspace, hour: int, **options: bool) -> str:
    name = f"{hour:05d}_20260216_{hour:02d}0000"
    session = write_session(workspace.recordings, name, 1, **options)
    set_age(session, 1000)
    time.sleep(0.02)  # the kernel's clock of change times is coarse
    return name


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    return make_workspace(tmp_path, recordings={"max_recordings": LIMIT})


def test_the_number_of_folders_is_when_habla_deletes_the_session(workspace):
    saved = add_session(workspace, 8)
    ingest_into(workspace)
    unsaved = [add_session(workspace, hour) for hour in (9, 10)]
    survey = survey_folder(workspace.lake, workspace.settings, NOW)
    assert (survey.folders, survey.limit) == (3, LIMIT)
    predicted = {each.name: each.folders_left for each in survey.unsaved}
    assert list(predicted) == unsaved
    gone: dict[str, int] = {}
    for new in range(1, 6):
        add_session(workspace, 10 + new)
        gone.update(dict.fromkeys(delete_oldest(workspace.recordings), new))
    assert gone[saved] == 2
    assert {name: gone[name] for name in unsaved} == predicted


def test_other_entries_with_an_underscore_count_as_habla_counts_them(workspace):
    add_session(workspace, 9)
    before = survey_folder(workspace.lake, workspace.settings, NOW).nearest
    (workspace.recordings / "my_notes.txt").touch()
    (workspace.recordings / "readme").touch()
    after = survey_folder(workspace.lake, workspace.settings, NOW).nearest
    assert before is not None
    assert after is not None
    assert (before.folders_left, after.folders_left) == (4, 3)


def test_a_session_beyond_the_limit_is_deleted_when_the_next_one_ends(workspace):
    names = [add_session(workspace, hour) for hour in range(8, 14)]
    nearest = survey_folder(workspace.lake, workspace.settings, NOW).nearest
    assert nearest is not None
    assert (nearest.name, nearest.folders_left) == (names[0], 0)


def test_ingested_live_and_empty_sessions_are_not_unsaved(workspace):
    add_session(workspace, 8)
    ingest_into(workspace)
    write_session(workspace.recordings, "00009_20260216_090000", 1, metadata=False)
    write_session(workspace.recordings, "00010_20260216_100000", 0)
    survey = survey_folder(workspace.lake, workspace.settings, NOW.now(NOW.tzinfo))
    assert (survey.folders, survey.live, survey.unsaved) == (3, 1, ())


def test_a_session_of_a_wrong_clock_is_at_risk_and_one_before_first_day_is_left_out(workspace):
    for name in ("00001_19700101_000010", "00002_20250101_090000"):
        set_age(write_session(workspace.recordings, name, 1), 1000)
    survey = survey_folder(workspace.lake, workspace.settings, NOW)
    assert [bool(each.skipped) for each in survey.unsaved] == [True, True]
    assert survey.waiting == ()
    assert survey.nearest is not None
    assert survey.nearest.name == "00001_19700101_000010"


def test_without_a_limit_nothing_is_near_its_deletion(tmp_path):
    workspace = make_workspace(tmp_path, recordings={"max_recordings": 0})
    add_session(workspace, 9)
    survey = survey_folder(workspace.lake, workspace.settings, NOW)
    assert [each.folders_left for each in survey.unsaved] == [None]
    assert survey.nearest is None


def test_the_hours_waited_count_from_the_last_change_also_for_a_file_from_the_future(workspace):
    waiting = write_session(workspace.recordings, "00009_20260216_090000", 1)
    set_age(waiting, 7)
    (found,) = survey_folder(workspace.lake, workspace.settings, NOW).unsaved
    assert found.hours_waited(NOW) == pytest.approx(7, abs=0.01)
    set_age(waiting, -100_000)
    (found,) = survey_folder(workspace.lake, workspace.settings, NOW).unsaved
    real_now = NOW.now(NOW.tzinfo)
    assert found.changed_at <= real_now
    assert found.hours_waited(real_now + timedelta(hours=9)) > 8.9


def test_a_folder_that_cannot_be_listed_is_an_error(workspace):
    shutil.rmtree(workspace.recordings)
    with pytest.raises(InputError, match="cannot be listed"):
        survey_folder(workspace.lake, workspace.settings, NOW)
