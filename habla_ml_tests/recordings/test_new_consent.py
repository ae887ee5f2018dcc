"""A newly granted consent admits the withheld segments at the next tick and reads nothing else."""

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
from habla_ml.recordings import ingest
from habla_ml.recordings.change_detection import ChangedDay, find_changed_days
from habla_ml.recordings.days import PublishedDay, load_day, publish_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, set_age, write_session
from habla_ml_tests.testing.pending_consents import (
    ANA,
    CLASE,
    GIVEN,
    LATE,
    MONDAY,
    REMEDIOS,
    TALLER,
    TUESDAY,
    make_workspace_with_register,
    register,
)


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """Two days: a session waits for one consent, a segment of two other sessions for a second one."""
    workspace = make_workspace_with_register(tmp_path, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(workspace.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        (folder / "raw_stream.webm").write_bytes(b"every voice in " + name.encode())
        set_age(folder, 24)
    assert run_tick(workspace) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert read_published_segments(workspace) == {(CLASE, 1), (LATE, 1)}
    assert list_changed_days(workspace) == []
    return workspace


def list_changed_days(workspace: HablaWorkspace, now: datetime = NOW) -> list[ChangedDay]:
    return list(find_changed_days(workspace.recordings, workspace.lake, workspace.settings, now))


def run_tick(workspace: HablaWorkspace, now: datetime = NOW) -> dict[str, tuple[str, ...]]:
    """Run a tick and the ingests that it requests; return day → sessions that were read."""
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
        for row in read_segment_metadata(workspace.lake, day.metadata, ["session_id", "number"])
    }


def read_all_pointers(workspace: HablaWorkspace) -> dict[str, Any]:
    return {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")}


def test_a_session_is_admitted_once_its_consent_is_granted(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert read_published_segments(workspace) == {(TALLER, 1), (CLASE, 1), (LATE, 1)}
    assert run_tick(workspace) == {}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"given": GIVEN, "withdrawn": "2026-02-01"}, "was withdrawn on 2026-02-01"),
        ({"given": GIVEN, "minor": True}, "no guardian has consented yet"),
        ({}, "has given no consent yet"),
    ],
)
def test_ingest_skips_a_session_without_consent_with_the_reason(
    tmp_path: Path, entry: Mapping[str, Any], reason: str
) -> None:
    workspace = make_workspace_with_register(tmp_path, {**ANA, **entry})
    folder = write_session(workspace.recordings, TALLER, 2)
    (folder / "raw_stream.webm").write_bytes(b"every voice")
    day = ingest_day(workspace.recordings, MONDAY, workspace.lake, workspace.settings, NOW)
    assert (day.segments, [each.file for each in day.skipped_inputs]) == (
        0,
        ["segment_001.wav", "segment_002.wav"],
    )
    assert all(reason in each.reason for each in day.skipped_inputs)
    published = load_day(workspace.lake, MONDAY)
    assert published is not None
    assert (set(published.inputs), published.raw_streams) == ({TALLER}, {})


def test_a_voice_in_two_sessions_is_admitted_in_both_with_their_streams(
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
    ids=["new consent", "new entry", "more data", "missing guardian"],
)
def test_an_unrelated_change_of_the_register_is_examined_once(
    workspace: HablaWorkspace, entries: tuple[Mapping[str, Any], ...]
) -> None:
    register(workspace, *entries)
    assert run_tick(workspace) == {}
    before = read_all_pointers(workspace)
    assert run_tick(workspace) == {}
    assert read_all_pointers(workspace) == before


def test_an_unchanged_register_is_not_parsed(workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(yaml, "safe_load", lambda _: pytest.fail("parsed"))
        assert list_changed_days(workspace) == []


def test_a_consent_that_starts_later_is_effective_on_its_day(workspace: HablaWorkspace) -> None:
    begins = (NOW + timedelta(days=3)).date().isoformat()
    register(workspace, {**ANA, "given": begins}, REMEDIOS)
    assert run_tick(workspace) == {}
    assert run_tick(workspace, NOW + timedelta(days=2)) == {}
    assert run_tick(workspace, NOW + timedelta(days=3)) == {MONDAY: (TALLER,)}


def test_a_removed_entry_no_longer_withholds_segments(workspace: HablaWorkspace) -> None:
    register(workspace, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in read_published_segments(workspace)


def test_segments_that_wait_for_another_consent_stay_withheld(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    run_tick(workspace)
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    assert run_tick(workspace) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert len(read_published_segments(workspace)) == 6
    monday = load_day(workspace.lake, MONDAY)
    assert monday is not None
    assert (monday.withheld, monday.consents) == ({}, "")


def test_each_state_of_the_register_has_its_own_run_key(tmp_path: Path) -> None:
    workspace = make_workspace_with_register(tmp_path, ANA)
    set_age(write_session(workspace.recordings, TALLER, 1), 24)
    first = list_changed_days(workspace)
    ingest_day(workspace.recordings, MONDAY, workspace.lake, workspace.settings, NOW)
    register(workspace, {**ANA, "given": GIVEN})
    second = list_changed_days(workspace)
    assert [each.day for each in second] == [MONDAY]
    assert second != first
    # If the run failed or has not started, the next tick requests the same run.
    assert list_changed_days(workspace) == second


def test_a_missing_session_is_read_after_its_consent_when_it_returns(workspace: HablaWorkspace) -> None:
    away = shutil.move(workspace.recordings / TALLER, workspace.root / "backup")
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {}
    shutil.move(away, workspace.recordings / TALLER)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in read_published_segments(workspace)


def test_the_withdrawal_of_withheld_segments_is_permanent(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "withdrawn": "2026-05-01"}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}
    assert len(read_tombstones(workspace.lake).segments) == 2
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {}
    assert read_published_segments(workspace) == {(CLASE, 1), (LATE, 1)}


def test_a_consent_granted_during_the_reading_is_found_at_the_next_tick(
    workspace: HablaWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.recordings / LATE / "metadata.json").touch()

    def publish_after_consent(*arguments: Any, **options: Any) -> PublishedDay:
        register(workspace, ANA, {**REMEDIOS, "given": GIVEN})
        return publish_day(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "publish_day", publish_after_consent)
        ingest_day(workspace.recordings, TUESDAY, workspace.lake, workspace.settings, NOW)
    assert (LATE, 2) not in read_published_segments(workspace)
    assert run_tick(workspace) == {MONDAY: (CLASE,), TUESDAY: (LATE,)}
    assert (LATE, 2) in read_published_segments(workspace)


def test_a_table_import_keeps_the_withheld_segments_of_the_day(workspace: HablaWorkspace) -> None:
    publish_day(workspace.lake, MONDAY, (), workspace.settings.work_folder)
    assert run_tick(workspace) == {}
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: (TALLER,)}


def test_the_pointer_has_no_pseudonym_and_no_speaker_name(workspace: HablaWorkspace) -> None:
    pointer = workspace.lake.read_pointer(catalogue.RECORDINGS.name(MONDAY))
    assert pointer is not None
    assert set(pointer.value["withheld"]) == {TALLER, CLASE}
    assert not any(word in str(pointer.value) for word in ("c-1", "c-2", "Remedios"))


def test_an_unreadable_register_stops_the_tick_only_if_segments_are_withheld(
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
