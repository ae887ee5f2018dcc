"""What was said of a withheld segment waits with it, and comes in by itself when the consent does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation import collect_events, load_events, read_events
from habla_ml.corpus.build import build_day
from habla_ml.corpus.changes import changed_corrections
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore
from habla_ml.recordings import ChangedDay, changed_days, ingest_day, read_set_aside
from habla_ml_tests.consent.everywhere import found_in_lake
from habla_ml_tests.recordings.test_late_consent import (
    ANA,
    CLASE,
    GIVEN,
    LATE,
    MONDAY,
    REMEDIOS,
    TALLER,
    TUESDAY,
    register,
    world_with_register,
)
from habla_ml_tests.recordings.world import NOW, World, age, write_corrections, write_session

THEIRS = {(TALLER, 1), (TALLER, 2), (CLASE, 2), (LATE, 2)}
OTHERS = {(CLASE, 1), (LATE, 1)}


def typed(session: str, number: int) -> str:
    return f"Lo que dijo {session} {number}."


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two days with corrections of everything; a whole session waits for one consent, single voices for another."""
    world = world_with_register(tmp_path, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(world.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        write_corrections(folder, {number: typed(name, number) for number in (1, 2)})
        age(folder, 24)
    for day in (MONDAY, TUESDAY):
        ingest_day(world.recordings, day, world.lake, world.settings, NOW)
    assert set(corrected(world)) == {MONDAY, TUESDAY}
    return world


def asked(world: World) -> list[ChangedDay]:
    return list(changed_corrections(world.recordings, world.lake, world.settings, NOW))


def corrected(world: World) -> dict[str, int]:
    """A tick of the sensor of corrections and the runs that it asks for: day → events that are new."""
    return {each.day: correct(world, each.day) for each in asked(world)}


def correct(world: World, day: str) -> int:
    added = collect_events(world.recordings, day, world.lake, world.settings, NOW).added
    build_day(world.lake, day, world.conventions, world.settings)
    return added


def said(world: World) -> set[tuple[str, int]]:
    logs = [load_events(world.lake, day) for day in (MONDAY, TUESDAY)]
    texts = {event.text for log in logs if log is not None for event in read_events(world.lake, log)}
    return {each for each in THEIRS | OTHERS if typed(*each) in texts}


def assert_only(world: World, words: set[tuple[str, int]]) -> None:
    """Of all that was typed these words alone are in the log, and no byte of the others is in the lake."""
    assert said(world) == words
    store = DirectoryStore(world.root / "lake")
    assert found_in_lake(store, [typed(*each) for each in (THEIRS | OTHERS) - words]) == []
    assert len(found_in_lake(store, [typed(*each) for each in words])) >= len(words)


def test_no_byte_of_what_was_said_of_withheld_segments_enters_the_lake(world: World) -> None:
    assert_only(world, OTHERS)
    log = load_events(world.lake, MONDAY)
    assert log is not None
    aside = {(each.session, each.reason) for each in read_set_aside(world.lake, log.set_aside)}
    waits = "waits: its contributor has given no consent yet"
    assert aside == {
        (TALLER, f"what is said of segment_001.wav {waits}"),
        (TALLER, f"what is said of segment_002.wav {waits}"),
        (CLASE, f"what is said of segment_002.wav {waits}"),
    }
    assert not any(word in str(log) for word in ("c-1", "c-2", "Remedios"))


def test_the_tick_after_the_consent_asks_for_the_day_and_the_words_come_in(world: World) -> None:
    assert asked(world) == []
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    assert corrected(world) == {MONDAY: 1}
    assert_only(world, OTHERS | {(TALLER, 1)})
    assert asked(world) == []


def test_a_voice_in_two_days_asks_for_both_and_for_its_sessions_alone(world: World) -> None:
    register(world, ANA, {**REMEDIOS, "given": GIVEN})
    assert corrected(world) == {MONDAY: 1, TUESDAY: 1}
    assert_only(world, OTHERS | {(CLASE, 2), (LATE, 2)})
    log = load_events(world.lake, MONDAY)
    assert log is not None
    assert set(log.withheld) == {TALLER}


def test_recordings_and_words_come_in_whichever_is_read_first(world: World) -> None:
    register(world, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    for each in changed_days(world.recordings, world.lake, world.settings, NOW):
        ingest_day(world.recordings, each.day, world.lake, world.settings, NOW)
        correct(world, each.day)
    assert_only(world, THEIRS | OTHERS)
    assert asked(world) == []


def test_each_state_of_the_register_asks_under_a_key_of_its_own_until_the_words_are_in(world: World) -> None:
    keys = []
    for given in ("2026-01-01", "2026-01-02"):
        register(world, {**ANA, "given": given}, REMEDIOS)
        first = asked(world)
        assert [each.day for each in first] == [MONDAY]
        assert asked(world) == first
        keys.append(first[0].fingerprint)
        register(world, ANA, REMEDIOS)
        assert corrected(world) == {MONDAY: 0}
    assert len(set(keys)) == 2
    assert_only(world, OTHERS)


@pytest.mark.parametrize(
    "entry",
    [
        {"contributor": "c-9", "given": GIVEN, "sessions": ["clase_*"]},
        {"contributor": "c-9", "speakers": [{"label": "Otra"}]},
    ],
)
def test_an_unrelated_change_of_the_register_asks_for_nothing(world: World, entry: dict[str, Any]) -> None:
    register(world, ANA, REMEDIOS, entry)
    assert asked(world) == []
    pointers = {name: world.lake.pointer(name) for name in world.lake.pointers("")}
    assert asked(world) == []
    assert {name: world.lake.pointer(name) for name in world.lake.pointers("")} == pointers


def test_a_new_save_says_nothing_more_of_who_did_not_consent(world: World) -> None:
    write_corrections(world.recordings / CLASE, {1: typed(CLASE, 1), 2: "Otra cosa distinta."})
    assert corrected(world) == {MONDAY: 0}
    assert found_in_lake(DirectoryStore(world.root / "lake"), ["Otra cosa distinta."]) == []


def test_words_wait_too_where_habla_has_deleted_who_spoke(world: World) -> None:
    (world.recordings / CLASE / "metadata.json").unlink()
    write_corrections(world.recordings / CLASE, {1: typed(CLASE, 1), 2: "Otra cosa distinta."})
    age(world.recordings / CLASE, 24)
    collect_events(world.recordings, MONDAY, world.lake, world.settings, NOW)
    assert_only(world, OTHERS)
    assert found_in_lake(DirectoryStore(world.root / "lake"), ["Otra cosa distinta."]) == []
    register(world, ANA, {**REMEDIOS, "given": GIVEN})
    assert corrected(world)[MONDAY] == 1
    assert found_in_lake(DirectoryStore(world.root / "lake"), ["Otra cosa distinta."]) != []


def test_nothing_is_gathered_under_a_register_that_cannot_be_read(world: World) -> None:
    path = world.settings.consent.registry
    assert path is not None
    path.write_text("contributors: [")
    with pytest.raises(InputError, match="cannot be read"):
        asked(world)
    with pytest.raises(InputError, match="cannot be read"):
        collect_events(world.recordings, MONDAY, world.lake, world.settings, NOW)
    assert_only(world, OTHERS)
