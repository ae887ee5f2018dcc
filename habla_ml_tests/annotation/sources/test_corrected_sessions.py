"""The tick of the corrections: it costs a glance a session, and sees what `collect_events` would read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from habla_ml.annotation.collect import collect_events
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


def seen(workspace: HablaWorkspace) -> dict[str, dict[str, str]]:
    return find_corrected_sessions(workspace.recordings, workspace.settings, NOW)


@pytest.fixture
def classroom(workspace: HablaWorkspace) -> HablaWorkspace:
    """A corrected and an uncorrected session, and corrections where nobody expects them."""
    write_corrections(write_session(workspace.recordings, A, 2), {1: "uno"})
    write_session(workspace.recordings, B, 2)
    for name, hours in ((CRASHED, 48), (LIVE, 0.1)):
        session = write_session(workspace.recordings, name, 1, metadata=False)
        write_corrections(session, {1: name})
        set_age(session, hours)
    write_corrections(write_session(workspace.recordings, EMPTY, 0), {1: "nada"})
    return workspace


def test_a_tick_sees_what_the_log_notes_and_a_session_under_way_waits(classroom: HablaWorkspace) -> None:
    day = collect_events(classroom.lake, DAY, classroom.settings, NOW)
    assert set(day.inputs) == {A, CRASHED, EMPTY}
    assert seen(classroom) == {DAY: dict(day.inputs)}


def test_a_tick_lists_no_session_that_has_its_metadata(
    classroom: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def listing(path: str | Path) -> object:
        listed.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)
    seen(classroom)
    assert sorted(listed) == sorted([classroom.recordings.name, CRASHED, LIVE])


def test_another_save_and_metadata_that_come_late_are_seen(classroom: HablaWorkspace) -> None:
    before = seen(classroom)[DAY]
    write_corrections(classroom.recordings / A, {1: "uno dos"})
    (classroom.recordings / CRASHED / "metadata.json").write_text("{}")
    after = seen(classroom)[DAY]
    assert {name for name in after if after[name] != before[name]} == {A, CRASHED}


def test_links_odd_names_and_earlier_days_are_not_looked_into(classroom: HablaWorkspace, tmp_path: Path) -> None:
    before = seen(classroom)
    elsewhere = write_session(tmp_path / "elsewhere", "44444_20260216_150000", 1)
    write_corrections(elsewhere, {1: "otro"})
    (classroom.recordings / elsewhere.name).symlink_to(elsewhere)
    write_corrections(write_session(classroom.recordings, "notas", 1), {1: "x"})
    write_corrections(write_session(classroom.recordings, "55555_20251231_090000", 1), {1: "x"})
    (classroom.recordings / "66666_20260216_160000").write_text("no folder")
    assert seen(classroom) == before
