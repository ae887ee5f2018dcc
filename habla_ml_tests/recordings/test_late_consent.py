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
    changed_days,
    ingest,
    ingest_day,
    load_day,
    publish_day,
)
from habla_ml.recordings.changes import ChangedDay
from habla_ml.recordings.facts import read_facts
from habla_ml_tests.recordings.world import NOW, World, age, make_world, write_session

MONDAY, TUESDAY = "2026-02-16", "2026-02-17"
TALLER, CLASE, LATE = "taller_20260216_090000", "clase_20260216_100000", "clase_20260217_100000"
GIVEN = "2026-01-01"
ANA = {"contributor": "c-1", "sessions": ["taller_*"]}
REMEDIOS = {"contributor": "c-2", "speakers": [{"label": "Remedios"}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two days; a whole session waits for one consent, one segment of two others for another."""
    world = world_with_register(tmp_path, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(world.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        (folder / "raw_stream.webm").write_bytes(b"everybody in " + name.encode())
        age(folder, 24)
    assert ticked(world) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert held(world) == {(CLASE, 1), (LATE, 1)}
    assert days(world) == []
    return world


def world_with_register(root: Path, *entries: Mapping[str, Any]) -> World:
    (root / "consents.yaml").touch()
    world = make_world(
        root, consent={"registry": str(root / "consents.yaml")}, recordings={"keep_raw_stream": True}
    )
    register(world, *entries)
    return world


def register(world: World, *entries: Mapping[str, Any]) -> None:
    path = world.settings.consent.registry
    assert path is not None
    path.write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")


def days(world: World, now: datetime = NOW) -> list[ChangedDay]:
    return list(changed_days(world.recordings, world.lake, world.settings, now))


def ticked(world: World, now: datetime = NOW) -> dict[str, tuple[str, ...]]:
    """A tick and the runs that it asks for: day → the sessions that were read."""
    return {
        each.day: ingest_day(world.recordings, each.day, world.lake, world.settings, now).read_sessions
        for each in days(world, now)
    }


def held(world: World) -> set[tuple[str, int]]:
    published = [load_day(world.lake, day) for day in (MONDAY, TUESDAY)]
    return {
        (row["session_id"], row["number"])
        for day in published
        if day is not None
        for row in read_facts(world.lake, day.facts, ["session_id", "number"])
    }


def pointers(world: World) -> dict[str, Any]:
    return {name: world.lake.pointer(name) for name in world.lake.pointers("")}


def test_a_session_comes_in_by_itself_once_its_consent_is_there(world: World) -> None:
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    assert ticked(world) == {MONDAY: (TALLER,)}
    assert held(world) == {(TALLER, 1), (CLASE, 1), (LATE, 1)}
    assert ticked(world) == {}


def test_a_voice_in_two_sessions_asks_for_both_days_and_their_streams_are_kept_then(world: World) -> None:
    register(world, ANA, {**REMEDIOS, "given": GIVEN})
    assert ticked(world) == {MONDAY: (CLASE,), TUESDAY: (LATE,)}
    assert held(world) == {(CLASE, 1), (CLASE, 2), (LATE, 1), (LATE, 2)}
    monday = load_day(world.lake, MONDAY)
    assert monday is not None
    assert set(monday.raw_streams) == {CLASE}
    assert set(monday.withheld) == {TALLER}
    assert read_tombstones(world.lake).segments == frozenset()


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
    world: World, entries: tuple[Mapping[str, Any], ...]
) -> None:
    register(world, *entries)
    assert ticked(world) == {}
    before = pointers(world)
    assert ticked(world) == {}
    assert pointers(world) == before


def test_while_the_register_is_as_it_was_it_is_not_parsed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(yaml, "safe_load", lambda _: pytest.fail("parsed"))
        assert days(world) == []


def test_a_consent_that_begins_on_a_later_day_is_not_missed(world: World) -> None:
    begins = (NOW + timedelta(days=3)).date().isoformat()
    register(world, {**ANA, "given": begins}, REMEDIOS)
    assert ticked(world) == {}
    assert ticked(world, NOW + timedelta(days=2)) == {}
    assert ticked(world, NOW + timedelta(days=3)) == {MONDAY: (TALLER,)}


def test_who_leaves_the_register_is_withheld_no_longer(world: World) -> None:
    register(world, REMEDIOS)
    assert ticked(world) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in held(world)


def test_what_still_waits_for_another_consent_is_noted_anew(world: World) -> None:
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    ticked(world)
    register(world, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    assert ticked(world) == {MONDAY: (TALLER, CLASE), TUESDAY: (LATE,)}
    assert len(held(world)) == 6
    monday = load_day(world.lake, MONDAY)
    assert monday is not None
    assert (monday.withheld, monday.consents) == ({}, "")


def test_each_state_of_the_register_asks_under_a_key_of_its_own(tmp_path: Path) -> None:
    world = world_with_register(tmp_path, ANA)
    age(write_session(world.recordings, TALLER, 1), 24)
    first = days(world)
    ingest_day(world.recordings, MONDAY, world.lake, world.settings, NOW)
    register(world, {**ANA, "given": GIVEN})
    second = days(world)
    assert [each.day for each in second] == [MONDAY]
    assert second != first
    # The run failed, or has not started yet: the same work is asked for again.
    assert days(world) == second


def test_a_session_that_was_away_when_its_consent_came_is_read_when_it_is_back(world: World) -> None:
    away = shutil.move(world.recordings / TALLER, world.root / "backup")
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    assert ticked(world) == {}
    shutil.move(away, world.recordings / TALLER)
    assert ticked(world) == {MONDAY: (TALLER,)}
    assert (TALLER, 1) in held(world)


def test_a_withdrawal_while_something_waits_is_for_ever(world: World) -> None:
    register(world, {**ANA, "withdrawn": "2026-05-01"}, REMEDIOS)
    assert ticked(world) == {MONDAY: (TALLER,)}
    assert len(read_tombstones(world.lake).segments) == 2
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    assert ticked(world) == {}
    assert held(world) == {(CLASE, 1), (LATE, 1)}


def test_a_consent_that_comes_while_its_session_is_read_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.recordings / LATE / "metadata.json").touch()

    def publish_after_the_consent(*arguments: Any, **options: Any) -> PublishedDay:
        register(world, ANA, {**REMEDIOS, "given": GIVEN})
        return publish_day(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "publish_day", publish_after_the_consent)
        ingest_day(world.recordings, TUESDAY, world.lake, world.settings, NOW)
    assert (LATE, 2) not in held(world)
    assert ticked(world) == {MONDAY: (CLASE,), TUESDAY: (LATE,)}
    assert (LATE, 2) in held(world)


def test_what_a_table_adds_to_the_day_loses_no_note(world: World) -> None:
    publish_day(world.lake, MONDAY, (), {}, [], world.settings.work_folder)
    assert ticked(world) == {}
    register(world, {**ANA, "given": GIVEN}, REMEDIOS)
    assert ticked(world) == {MONDAY: (TALLER,)}


def test_no_pseudonym_and_no_name_of_who_waits_stands_in_the_pointer(world: World) -> None:
    pointer = world.lake.pointer(catalogue.RECORDINGS.name(MONDAY))
    assert pointer is not None
    assert set(pointer.value["withheld"]) == {TALLER, CLASE}
    assert not any(word in str(pointer.value) for word in ("c-1", "c-2", "Remedios"))


def test_a_register_that_cannot_be_read_stops_the_tick_only_where_something_waits(world: World) -> None:
    path = world.settings.consent.registry
    assert path is not None
    path.write_text("contributors: [")
    with pytest.raises(InputError, match="cannot be read"):
        days(world)
    register(world, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    ticked(world)
    path.write_text("contributors: [")
    assert days(world) == []
