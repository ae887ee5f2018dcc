"""Corrections of withheld segments wait for the consent and come in once it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.days import read_skipped_inputs
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.byte_search import find_texts_in_lake
from habla_ml_tests.testing.corrected_days import list_outdated_days, list_source_errors
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, set_age, write_corrections, write_session
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

WITHHELD_CORRECTIONS = {(TALLER, 1), (TALLER, 2), (CLASE, 2), (LATE, 2)}
ADMITTED_CORRECTIONS = {(CLASE, 1), (LATE, 1)}


def typed(session: str, number: int) -> str:
    return f"Lo que dijo {session} {number}."


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """Two days with corrections of all segments; one session waits for one consent, single speakers for another."""
    workspace = make_workspace_with_register(tmp_path, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(workspace.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        write_corrections(folder, {number: typed(name, number) for number in (1, 2)})
        set_age(folder, 24)
    for day in (MONDAY, TUESDAY):
        ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
    assert set(run_tick(workspace)) == {MONDAY, TUESDAY}
    return workspace


def run_tick(workspace: HablaWorkspace) -> dict[str, int]:
    """Run a tick of the sensor and its runs; return day → new events."""
    return {each.day: build_text(workspace, each.day) for each in list_outdated_days(workspace)}


def build_text(workspace: HablaWorkspace, day: str) -> int:
    added = collect_events(workspace.lake, day, workspace.settings, NOW).added
    build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    return added


def list_logged(workspace: HablaWorkspace) -> set[tuple[str, int]]:
    logs = [load_events(workspace.lake, day) for day in (MONDAY, TUESDAY)]
    texts = {event.text for log in logs if log is not None for event in read_events(workspace.lake, log)}
    return {each for each in WITHHELD_CORRECTIONS | ADMITTED_CORRECTIONS if typed(*each) in texts}


def assert_logged(workspace: HablaWorkspace, corrections: set[tuple[str, int]]) -> None:
    """Check that the log has exactly these corrections and the lake no byte of the others."""
    assert list_logged(workspace) == corrections
    store = DirectoryStore(workspace.root / "lake")
    assert (
        find_texts_in_lake(
            store, [typed(*each) for each in (WITHHELD_CORRECTIONS | ADMITTED_CORRECTIONS) - corrections]
        )
        == []
    )
    assert len(find_texts_in_lake(store, [typed(*each) for each in corrections])) >= len(corrections)


def test_no_byte_of_a_withheld_correction_enters_the_lake(workspace: HablaWorkspace) -> None:
    assert_logged(workspace, ADMITTED_CORRECTIONS)
    log = load_events(workspace.lake, MONDAY)
    assert log is not None
    skipped = {(each.session, each.reason) for each in read_skipped_inputs(workspace.lake, log.set_aside)}
    reason = "waits: its contributor has given no consent yet"
    assert skipped == {
        (TALLER, f"the correction of segment_001.wav {reason}"),
        (TALLER, f"the correction of segment_002.wav {reason}"),
        (CLASE, f"the correction of segment_002.wav {reason}"),
    }
    assert not any(word in str(log) for word in ("c-1", "c-2", "Remedios"))


def test_after_the_consent_the_tick_requests_the_day_and_the_corrections_come_in(
    workspace: HablaWorkspace,
) -> None:
    assert list_outdated_days(workspace) == []
    register(workspace, {**ANA, "given": GIVEN}, REMEDIOS)
    assert run_tick(workspace) == {MONDAY: 1}
    assert_logged(workspace, ADMITTED_CORRECTIONS | {(TALLER, 1)})
    assert list_outdated_days(workspace) == []


def test_a_consent_for_two_days_requests_both_and_only_its_sessions(workspace: HablaWorkspace) -> None:
    register(workspace, ANA, {**REMEDIOS, "given": GIVEN})
    assert run_tick(workspace) == {MONDAY: 1, TUESDAY: 1}
    assert_logged(workspace, ADMITTED_CORRECTIONS | {(CLASE, 2), (LATE, 2)})
    log = load_events(workspace.lake, MONDAY)
    assert log is not None
    assert set(log.withheld) == {TALLER}


def test_recordings_and_corrections_come_in_in_any_order(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    for each in find_changed_days(workspace.recordings, workspace.lake, workspace.settings, NOW):
        ingest_day(workspace.recordings, each.day, workspace.lake, workspace.settings, NOW)
        build_text(workspace, each.day)
    assert_logged(workspace, WITHHELD_CORRECTIONS | ADMITTED_CORRECTIONS)
    assert list_outdated_days(workspace) == []


def test_each_state_of_the_register_gives_another_run_key_until_the_corrections_are_in(
    workspace: HablaWorkspace,
) -> None:
    keys = []
    for given in ("2026-01-01", "2026-01-02"):
        register(workspace, {**ANA, "given": given}, REMEDIOS)
        first = list_outdated_days(workspace)
        assert [each.day for each in first] == [MONDAY]
        assert list_outdated_days(workspace) == first
        keys.append(first[0].fingerprint)
        register(workspace, ANA, REMEDIOS)
        assert run_tick(workspace) == {MONDAY: 0}
    assert len(set(keys)) == 2
    assert_logged(workspace, ADMITTED_CORRECTIONS)


@pytest.mark.parametrize(
    "entry",
    [
        {"contributor": "c-9", "given": GIVEN, "sessions": ["clase_*"]},
        {"contributor": "c-9", "speakers": [{"label": "Otra"}]},
    ],
)
def test_an_unrelated_change_of_the_register_requests_nothing(workspace: HablaWorkspace, entry: dict[str, Any]) -> None:
    register(workspace, ANA, REMEDIOS, entry)
    assert list_outdated_days(workspace) == []
    pointers = {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")}
    assert list_outdated_days(workspace) == []
    assert {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")} == pointers


def test_a_new_save_adds_no_correction_without_consent(workspace: HablaWorkspace) -> None:
    write_corrections(workspace.recordings / CLASE, {1: typed(CLASE, 1), 2: "Otra cosa distinta."})
    assert run_tick(workspace) == {MONDAY: 0}
    assert find_texts_in_lake(DirectoryStore(workspace.root / "lake"), ["Otra cosa distinta."]) == []


def test_corrections_wait_where_habla_has_deleted_the_speaker_labels(workspace: HablaWorkspace) -> None:
    (workspace.recordings / CLASE / "metadata.json").unlink()
    write_corrections(workspace.recordings / CLASE, {1: typed(CLASE, 1), 2: "Otra cosa distinta."})
    set_age(workspace.recordings / CLASE, 24)
    collect_events(workspace.lake, MONDAY, workspace.settings, NOW)
    assert_logged(workspace, ADMITTED_CORRECTIONS)
    assert find_texts_in_lake(DirectoryStore(workspace.root / "lake"), ["Otra cosa distinta."]) == []
    register(workspace, ANA, {**REMEDIOS, "given": GIVEN})
    assert run_tick(workspace)[MONDAY] == 1
    assert find_texts_in_lake(DirectoryStore(workspace.root / "lake"), ["Otra cosa distinta."]) != []


def test_nothing_is_collected_while_the_register_cannot_be_read(workspace: HablaWorkspace) -> None:
    path = workspace.settings.consent.registry
    assert path is not None
    path.write_text("contributors: [")
    assert "consent register" in list_source_errors(workspace)[MONDAY]
    with pytest.raises(InputError, match="cannot be read"):
        collect_events(workspace.lake, MONDAY, workspace.settings, NOW)
    assert_logged(workspace, ADMITTED_CORRECTIONS)
