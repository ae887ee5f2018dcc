"""A consent that comes late: what was withheld comes in at the next tick, and nothing else is read for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.errors import InputError
from habla_ml.lake import catalogue
from habla_ml.recordings import (
    PublishedDay,
    find_changed_days,
    ingest,
    ingest_day,
    load_day,
    publish_day,
)
from habla_ml.recordings.change_detection import ChangedDay
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_workspace, set_age, write_session

MONDAY, TUESDAY = "2026-02-16", "2026-02-17"
TALLER, CLASE, LATE = "taller_20260216_090000", "clase_20260216_100000", "clase_20260217_100000"
GIVEN = "2026-01-01"
ANA = {"contributor": "c-1", "sessions": ["taller_*"]}
REMEDIOS = {"contributor": "c-2", "speakers": [{"label": "Remedios"}]}


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """Two days; a whole session waits for one consent, one segment of two others for another."""
    workspace = world_with_register(tmp_path, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(workspace.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        (folder / "raw_stream.webm").write_bytes(b"everybody in " + name.encode())
        set_age(folder, 24)
    assert run_tick(workspace) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert read_published_segments(workspace) == {(CLASE, 1), (LATE, 1)}
    assert list_changed_days(workspace) == []
    return workspace


def world_with_register(root: Path, *entries: Mapping[str, Any]) -> HablaWorkspace:
    (root / "consents.yaml").touch()
    workspace = make_workspace(
        root, consent={"registry": str(root / "consents.yaml")}, recordings={"keep_raw_stream": True}
    )
    register(workspace, *entries)
    return workspace


def register(workspace: HablaWorkspace, *entries: Mapping[str, Any]) -> None:
    path = workspace.settings.consent.registry
    assert path is not None
    path.write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")


def list_changed_days(workspace: HablaWorkspace, now: datetime = NOW) -> list[ChangedDay]:
    return list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, now))


def run_tick(workspace: HablaWorkspace, now: datetime = NOW) -> dict[str, tuple[str, ...]]:
    """A tick and the runs that it asks for: day → the sessions that were read."""
    return {
        each.day: ingest_day(workspace.recordings, each.day, workspace.lake, workspace.settings, now).read_sessions
        for each in list_changed_days(workspace, now)
    }


def read_published_segments(workspace: HablaWorkspace) -> set[tuple[str, int]]:
    published = [load_day(workspace.lake, day) for day in (MONDAY, TUESDAY)]
    return {
        (row["session_id"], row["number"])
        for day in published
        if day is not None
        for row in read_segment_metadata(workspace.lake, day.facts, ["session_id", "number"])
    }


def read_all_pointers(workspace: HablaWorkspace) -> dict[str, Any]:
    return {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")}


def test_a_session_comes_in_by_itself_once_its_consent_is_there(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert read_published_segments(workspace) == {(TALLER, 1), (CLASE, 1), (LATE, 1)}
    assert run_tick(workspace) == {}


def test_a_voice_in_two_sessions_asks_for_both_days_and_their_streams_are_kept_then(
    workspace: HablaWorkspace,
) -> None:
    register(workspace, ANA, {**REMEDIOS, "given": GIVEN})
    assert run_tick(workspace) == {MONDAY: (CLASE,), TUESDAY: (LATE,)}
    assert read_published_segments(workspace) == {(CLASE, 1), (CLASE, 2), (LATE, 1), (LATE, 2)}
    monday = load_day(workspace.lake, MONDAY)
    assert monday is not None
    assert set(monday.raw_streams) == {CLASE}
    assert set(monday.withheld) == {TALLER}
    assert read_tombstones(workspace.lake).segments == frozenset()


@pytest.mark.parametrize(
    "entries",
    [
        (ANA, REMEDIOS, {"contributor": "c-9", "given": GIVEN, "sessions": ["clase_*"]}),
        (ANA, REMEDIOS, {"contributor": "c-9", "speakers": [{"label": "Otra"}]}),
        (REMEDIOS, {**ANA, "sessions": ["taller_*", "coro_*"], "segments": ["seg-7"]}),
        ({**ANA, "minor": True, "given": GIVEN}, REMEDIOS),
    ],
    ids=["somebody agrees", "somebody is added", "more is theirs", "a guardian is missing"],
)
def test_an_unrelated_change_reads_nothing_again_and_is_looked_into_once(
    workspace: HablaWorkspace, entries: tuple[Mapping[str, Any], ...]
) -> None:
    register(workspace, *entries)
    assert run_tick(workspace) == {}
    before = read_all_pointers(workspace)
    assert run_tick(workspace) == {}
    assert read_all_pointers(workspace) == before


def test_while_the_register_is_as_it_was_it_is_not_parsed(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(yaml, "safe_load", lambda _: pytest.fail("parsed"))
        assert list_changed_days(workspace) == []


def test_a_consent_that_begins_on_a_later_day_is_not_missed(workspace: HablaWorkspace) -> None:
    begins = (NOW + timedelta(days=3)).date().isoformat()
    register(workspace, {**ANA, "given": begins}, REMEDIOS)
    assert run_tick(workspace) == {}
    assert run_tick(workspace, NOW + timedelta(days=2)) == {}
    assert run_tick(workspace, NOW + timedelta(days=3)) == {MONDAY: (TALLER,)}


def test_who_leaves_the_register_is_withheld_no_longer(workspace: HablaWorkspace) -> None:
    register(workspace, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in read_published_segments(workspace)


def test_what_still_waits_for_another_consent_is_noted_anew(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    run_tick(workspace)
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    assert run_tick(workspace) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert len(read_published_segments(workspace)) == 6
    monday = load_day(workspace.lake, MONDAY)
    assert monday is not None
    assert (monday.withheld, monday.consents) == ({}, "")


def test_each_state_of_the_register_asks_under_a_key_of_its_own(tmp_path: Path) -> None:
    workspace = world_with_register(tmp_path, ANA)
    set_age(write_session(workspace.recordings, TALLER, 1), 24)
    first = list_changed_days(workspace)
    ingest_day(workspace.recordings, MONDAY, workspace.lake, workspace.settings, NOW)
    register(workspace, {**ANA, "given": GIVEN})
    second = list_changed_days(workspace)
    assert [each.day for each in second] == [MONDAY]
    assert second != first
    # The run failed, or has not started yet: the same work is asked for again.
    assert list_changed_days(workspace) == second


def test_a_session_that_was_away_when_its_consent_came_is_read_when_it_is_back(workspace: HablaWorkspace) -> None:
    away = shutil.move(workspace.recordings / TALLER, workspace.root / "backup")
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {}
    shutil.move(away, workspace.recordings / TALLER)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in read_published_segments(workspace)


def test_a_withdrawal_while_something_waits_is_for_ever(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "withdrawn": "2026-05-01"}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert len(read_tombstones(workspace.lake).segments) == 2
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {}
    assert read_published_segments(workspace) == {(CLASE, 1), (LATE, 1)}


def test_a_consent_that_comes_while_its_session_is_read_is_not_missed(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.recordings / LATE / "metadata.json").touch()

    def publish_after_the_consent(*arguments: Any, **options: Any) -> PublishedDay:
        register(workspace, ANA, {**REMEDIOS, "given": GIVEN})
        return publish_day(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "publish_day", publish_after_the_consent)
        ingest_day(workspace.recordings, TUESDAY, workspace.lake, workspace.settings, NOW)
    assert (LATE, 2) not in read_published_segments(workspace)
    assert run_tick(workspace) == {MONDAY: (CLASE,), TUESDAY: (LATE,)}
    assert (LATE, 2) in read_published_segments(workspace)


def test_what_a_table_adds_to_the_day_loses_no_note(workspace: HablaWorkspace) -> None:
    publish_day(workspace.lake, MONDAY, (), workspace.settings.work_folder)
    assert run_tick(workspace) == {}
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}


def test_no_pseudonym_and_no_name_of_who_waits_stands_in_the_pointer(workspace: HablaWorkspace) -> None:
    pointer = workspace.lake.read_pointer(catalogue.RECORDINGS.name(MONDAY))
    assert pointer is not None
    assert set(pointer.value["withheld"]) == {TALLER, CLASE}
    assert not any(word in str(pointer.value) for word in ("c-1", "c-2", "Remedios"))


def test_a_register_that_cannot_be_read_stops_the_tick_only_where_something_waits(
    workspace: HablaWorkspace,
) -> None:
    path = workspace.settings.consent.registry
    assert path is not None
    path.write_text("contributors: [")
    with pytest.raises(InputError, match="cannot be read"):
        list_changed_days(workspace)
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    run_tick(workspace)
    path.write_text("contributors: [")
    assert list_changed_days(workspace) == []
