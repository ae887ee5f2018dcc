"""Clock changes, sessions over midnight, and clocks that were set back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from habla_ml.lake.table import read_table
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.sessions import scan_sessions, to_utc
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, set_age, write_session


def ingest_and_read_rows(workspace: HablaWorkspace, day: str) -> list[dict[str, Any]]:
    done = ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
    table: list[dict[str, Any]] = read_table(workspace.lake, done.parquet).to_pylist()
    return table


def make_entries(*moments: str) -> dict[int, dict[str, Any]]:
    return {number: {"recorded_at": moment} for number, moment in enumerate(moments, start=1)}


def test_times_in_the_repeated_hour_increase(workspace: HablaWorkspace) -> None:
    times = make_entries(
        "2026-10-25T02:40:00",
        "2026-10-25T02:59:58",
        "2026-10-25T02:00:01",
        "2026-10-25T02:30:00",
        "2026-10-25T03:00",
    )
    write_session(workspace.recordings, "a_20261025_023900", 5, entries=times)
    assert [row["recorded_at"] for row in ingest_and_read_rows(workspace, "2026-10-25")] == [
        datetime(2026, 10, 25, 0, 40, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 59, 58, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 0, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 0, tzinfo=UTC),
    ]


def test_small_disorder_does_not_switch_to_the_second_hour(workspace: HablaWorkspace) -> None:
    write_session(
        workspace.recordings,
        "a_20261025_021000",
        3,
        entries=make_entries("2026-10-25T02:10:05", "2026-10-25T02:09:58", "2026-10-25T02:10:09"),
    )
    found = [row["recorded_at"] for row in ingest_and_read_rows(workspace, "2026-10-25")]
    assert found == [
        datetime(2026, 10, 25, 0, 10, 5, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 9, 58, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 10, 9, tzinfo=UTC),
    ]


def test_a_time_in_the_skipped_hour_is_one_hour_later(workspace: HablaWorkspace) -> None:
    write_session(
        workspace.recordings,
        "a_20260329_015900",
        3,
        entries=make_entries("2026-03-29T01:59:59", "2026-03-29T02:30:00", "2026-03-29T03:00:01"),
    )
    assert [row["recorded_at"] for row in ingest_and_read_rows(workspace, "2026-03-29")] == [
        datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC),
    ]


def test_two_sessions_with_the_same_wall_time_are_two_sessions(workspace: HablaWorkspace) -> None:
    write_session(workspace.recordings, "a_20261025_023000", 1)
    write_session(workspace.recordings, "b_20261025_023000", 1)
    assert len({row["segment_id"] for row in ingest_and_read_rows(workspace, "2026-10-25")}) == 2


def test_a_session_over_midnight_belongs_to_its_first_day(workspace: HablaWorkspace) -> None:
    write_session(
        workspace.recordings,
        "a_20261231_235950",
        2,
        entries=make_entries("2026-12-31T23:59:55", "2027-01-01T00:00:05"),
    )
    now = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    found_days = find_changed_days(workspace.recordings, workspace.lake, workspace.settings, now)
    assert [each.day for each in found_days] == ["2026-12-31"]
    found = ingest_and_read_rows(workspace, "2026-12-31")
    assert [row["day"] for row in found] == ["2026-12-31"] * 2
    assert found[1]["recorded_at"] == datetime(2026, 12, 31, 23, 0, 5, tzinfo=UTC)
    assert ingest_and_read_rows(workspace, "2027-01-01") == []


def test_a_clock_set_back_keeps_the_order_and_ends_the_session(
    workspace: HablaWorkspace,
) -> None:
    entries = make_entries("2026-02-16T12:00:00", "2026-02-16T09:00:00")
    write_session(workspace.recordings, "a_20260216_115900", 2, entries=entries)
    assert [row["number"] for row in ingest_and_read_rows(workspace, "2026-02-16")] == [1, 2]
    # Written while the clock was a year ahead, then the clock was corrected: the session is not live.
    crashed = write_session(workspace.recordings, "b_20270216_090000", 1, metadata=False)
    set_age(crashed, -24 * 365)
    states = {
        each.name.partition("_")[0]: each.state
        for each in scan_sessions(workspace.recordings, workspace.settings, NOW).sessions
    }
    assert states["b"] == "crashed"
    set_age(crashed, -0.5)
    states = {
        each.name.partition("_")[0]: each.state
        for each in scan_sessions(workspace.recordings, workspace.settings, NOW).sessions
    }
    assert states["b"] == "live"


@pytest.mark.parametrize(("after_hour", "utc_hour"), [(None, 0), (0, 0), (1, 1)])
def test_an_earlier_event_decides_between_the_two_hours(after_hour: int | None, utc_hour: int) -> None:
    zone = ZoneInfo("Europe/Madrid")
    after = None if after_hour is None else datetime(2026, 10, 25, after_hour, 20, tzinfo=UTC)
    assert to_utc(datetime(2026, 10, 25, 2, 30), zone, after) == datetime(2026, 10, 25, utc_hour, 30, tzinfo=UTC)
