"""Finding corrected sessions with one `stat` call per session; the result matches what `collect_events` reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.annotation.sources.habla import find_corrected_sessions
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    B,
    HablaWorkspace,
    set_age,
    write_corrections,
    write_session,
)

CRASHED, LIVE, EMPTY = (f"{name}_20260216_1{hour}0000" for hour, name in enumerate(("crashed", "live", "empty")))


def find_sessions(workspace: HablaWorkspace) -> dict[str, dict[str, str]]:
    return find_corrected_sessions(workspace.recordings, workspace.settings, NOW)


@pytest.fixture
def classroom(workspace: HablaWorkspace) -> HablaWorkspace:
    """Sessions with and without corrections: finished, crashed, live and empty."""
    write_corrections(write_session(workspace.recordings, A, 2), {1: "uno"})
    write_session(workspace.recordings, B, 2)
    for name, hours in ((CRASHED, 48), (LIVE, 0.1)):
        session = write_session(workspace.recordings, name, 1, metadata=False)
        write_corrections(session, {1: name})
        set_age(session, hours)
    write_corrections(write_session(workspace.recordings, EMPTY, 0), {1: "nada"})
    return workspace


def test_a_tick_finds_the_inputs_of_the_log_and_no_live_session(classroom: HablaWorkspace) -> None:
    day = collect_events(classroom.lake, DAY, classroom.settings, NOW)
    assert set(day.inputs) == {A, CRASHED, EMPTY}
    assert find_sessions(classroom) == {DAY: dict(day.inputs)}


def test_a_tick_lists_no_session_that_has_its_metadata(
    classroom: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def record_and_scan(path: str | Path) -> object:
        listed.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record_and_scan)
    find_sessions(classroom)
    assert sorted(listed) == sorted([classroom.recordings.name, CRASHED, LIVE])


def test_a_new_save_and_late_metadata_change_the_fingerprint(classroom: HablaWorkspace) -> None:
    before = find_sessions(classroom)[DAY]
    write_corrections(classroom.recordings / A, {1: "uno dos"})
    (classroom.recordings / CRASHED / "metadata.json").write_text("{}")
    after = find_sessions(classroom)[DAY]
    assert {name for name in after if after[name] != before[name]} == {A, CRASHED}


def test_links_other_names_and_earlier_days_are_ignored(classroom: HablaWorkspace, tmp_path: Path) -> None:
    before = find_sessions(classroom)
    elsewhere = write_session(tmp_path / "elsewhere", "44444_20260216_150000", 1)
    write_corrections(elsewhere, {1: "otro"})
    (classroom.recordings / elsewhere.name).symlink_to(elsewhere)
    write_corrections(write_session(classroom.recordings, "notas", 1), {1: "x"})
    write_corrections(write_session(classroom.recordings, "55555_20251231_090000", 1), {1: "x"})
    (classroom.recordings / "66666_20260216_160000").write_text("no folder")
    assert find_sessions(classroom) == before
