"""Erasing where segments were withheld, or turned away after they were in, and what lists of refused rows repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation import AnnotationEvent, append_events, collect_events, last_import
from habla_ml.consent.erase import ErasurePlan, ErasureReport, erase, plan_erasure
from habla_ml.consent.register import load_register
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake import DirectoryStore, catalogue
from habla_ml.recordings import HABLA, SetAside, ingest_day, load_day, segment_id
from habla_ml.recordings.days import put_set_aside
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
)
from habla_ml_tests.recordings.world import NOW, World, age, make_world, speech, write_corrections, write_session

WITHDRAWN = "2026-05-01"


def typed(session: str, number: int) -> str:
    return f"Lo que dijo {session} {number}."


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A whole session and single voices are withheld; yet their words are in the log, as an older version let them."""
    (tmp_path / "consents.yaml").touch()
    world = make_world(
        tmp_path,
        consent={"registry": str(tmp_path / "consents.yaml")},
        recordings={"keep_raw_stream": True},
        corpus={"slowest_chars_per_s": 0.0, "fastest_chars_per_s": 1000.0},
    )
    register(world, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(world.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        (folder / "raw_stream.webm").write_bytes(b"everybody in " + name.encode())
        age(folder, 24)
    for day in (MONDAY, TUESDAY):
        ingest_day(world.recordings, day, world.lake, world.settings, NOW)
        append_events(world.lake, day, [word(name, number) for name in of(day) for number in (1, 2)], {})
        build_day(world.lake, day, world.conventions, world.settings)
    return world


def of(day: str) -> list[str]:
    return [name for name in (TALLER, CLASE, LATE) if day.replace("-", "") in name]


def word(session: str, number: int) -> AnnotationEvent:
    day = next(day for day in (MONDAY, TUESDAY) if session in of(day))
    return AnnotationEvent(
        identity(session, number), session, day, typed(session, number), "corrected", "", "", HABLA, NOW, None
    )


def identity(session: str, number: int) -> str:
    return segment_id(HABLA, session, f"segment_{number:03d}.wav")


def plan(world: World, contributor: str) -> ErasurePlan:
    path = world.settings.consent.registry
    assert path is not None
    found = load_register(path).find(contributor)
    assert found is not None
    return plan_erasure(world.lake, found, world.settings, NOW)


def erased(world: World, contributor: str) -> ErasureReport:
    return erase(world.lake, plan(world, contributor), world.settings, NOW)


def left(world: World, *words: tuple[str, int]) -> list[str]:
    return found_in_lake(DirectoryStore(world.root / "lake"), [typed(*each) for each in words])


def test_words_about_withheld_segments_are_found_and_erased(world: World) -> None:
    assert len(left(world, (CLASE, 2), (LATE, 2))) >= 2
    register(world, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    found = plan(world, "c-2")
    assert found.holdings.withheld == {identity(each, 2) for each in (TALLER, CLASE, LATE)}
    assert found.in_folder == (CLASE, LATE, TALLER)
    assert erased(world, "c-2").segments == 0
    assert left(world, (CLASE, 2), (LATE, 2), (TALLER, 2)) == []
    assert {identity(each, 2) for each in (TALLER, CLASE, LATE)} <= read_tombstones(world.lake).segments
    for kept in ((CLASE, 1), (LATE, 1), (TALLER, 1)):
        assert left(world, kept) != []
    assert plan(world, "c-2").holdings.withheld == frozenset()


def test_words_of_a_session_that_habla_deleted_are_found_by_what_waits(world: World) -> None:
    for name in (CLASE, LATE):
        for path in (world.recordings / name).iterdir():
            path.unlink()
        (world.recordings / name).rmdir()
    register(world, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    erased(world, "c-2")
    assert left(world, (CLASE, 2), (LATE, 2)) == []
    assert left(world, (CLASE, 1)) != []


def test_an_erased_voice_that_was_withheld_stays_out_without_its_register(world: World) -> None:
    register(world, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    erased(world, "c-2")
    register(world, ANA)
    for name in (CLASE, LATE):
        write_corrections(world.recordings / name, {number: typed(name, number) for number in (1, 2)})
        (world.recordings / name / "metadata.json").touch()
    for day in (MONDAY, TUESDAY):
        ingest_day(world.recordings, day, world.lake, world.settings, NOW)
        collect_events(world.recordings, day, world.lake, world.settings, NOW)
    assert left(world, (CLASE, 2), (LATE, 2)) == []
    voice = speech(0.4, sum(CLASE.encode()) * 1000 + 2).astype("<i2").tobytes()
    assert not any(voice in path.read_bytes() for path in (world.root / "lake").rglob("*") if path.is_file())


def trained(world: World) -> Snapshot:
    snapshot = make_snapshot(world.lake, world.settings, world.conventions)
    value = {
        "version": "v1",
        "snapshot": snapshot.id,
        "recipe": world.lake.put_bytes(b"none"),
        "corpus_hours": 1.0,
    }
    world.lake.move_pointer("models/v1/plan", value, None)
    return snapshot


def test_who_was_turned_away_after_they_were_in_is_counted_and_the_models_named(world: World) -> None:
    register(world, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    for day in (MONDAY, TUESDAY):
        ingest_day(world.recordings, day, world.lake, world.settings, NOW)
        build_day(world.lake, day, world.conventions, world.settings)
    trained(world)
    streams = load_day(world.lake, MONDAY)
    assert streams is not None
    assert CLASE in streams.raw_streams
    register(world, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN, "withdrawn": WITHDRAWN})
    for _ in range(2):  # the first reading writes tombstones, the second drops the rows
        for name in (TALLER, CLASE, LATE):
            (world.recordings / name / "metadata.json").touch()
        for day in (MONDAY, TUESDAY):
            ingest_day(world.recordings, day, world.lake, world.settings, NOW)
    held = load_day(world.lake, MONDAY)
    assert held is not None
    assert held.segments == 2
    report = erased(world, "c-2")
    assert (report.segments, report.heard) == (3, ("v1",))
    held = load_day(world.lake, MONDAY)
    assert held is not None
    assert held.raw_streams == {}
    assert left(world, (CLASE, 2), (LATE, 2), (TALLER, 2)) == []


SENTENCES = ("Pues la zarzaparrilla", "Ayer la zarzaparrilla", "El gato zarzaparrilla", "hoy zarzaparrilla")
OLD_REASONS = (
    f"has the status {SENTENCES[0]!r}, expected corrected, confirmed, unusable",
    f"has {SENTENCES[1]!r} as annotated_at, expected a time like 2026-02-16T14:30:22",
    f"lacks the column audio_path; found {SENTENCES[3]}, clip.wav",
)


def old_list(name: str) -> list[SetAside]:
    return [
        SetAside(name, f"row 1: {SENTENCES[2]}", OLD_REASONS[0]),
        SetAside(name, "row 2: clip.wav", OLD_REASONS[1]),
        SetAside(name, "words.csv", OLD_REASONS[2]),
    ]


def table_world(root: Path) -> World:
    (root / "consents.yaml").touch()
    table = root / "told" / "words.csv"
    table.parent.mkdir()
    table.write_text(
        f"audio_path,transcript,status\nclip.wav,Hola.,{SENTENCES[0]}\n{SENTENCES[2]},Hola.,\n", "utf-8"
    )
    world = make_world(
        root, consent={"registry": str(root / "consents.yaml")}, annotation={"tables": [str(table)]}
    )
    write_session(world.recordings, CLASE, 1)
    register(world, {**REMEDIOS, "withdrawn": WITHDRAWN})
    ingest_day(world.recordings, MONDAY, world.lake, world.settings, NOW)
    collect_events(world.recordings, MONDAY, world.lake, world.settings, NOW)
    return world


def tables_pointer(world: World) -> Any:
    (name,) = world.lake.pointers("tables/")
    return world.lake.pointer(name)


def test_what_old_lists_of_refused_rows_repeat_goes_with_any_erasure(tmp_path: Path) -> None:
    world = table_world(tmp_path)
    table = world.settings.annotation.tables[0]
    superseded = put_set_aside(world.lake, old_list("told-words")[:1])
    pointer = tables_pointer(world)
    listed = put_set_aside(world.lake, old_list("told-words"))
    world.lake.move_pointer(pointer.name, {**pointer.value, "set_aside": listed}, pointer)
    day = world.lake.pointer(catalogue.RECORDINGS.name(MONDAY))
    assert day is not None
    quoting = SetAside(
        CLASE, "metadata.json", f"key recorded_at is {SENTENCES[1]!r}, expected a time; taken as missing"
    )
    world.lake.move_pointer(day.name, {**day.value, "set_aside": put_set_aside(world.lake, [quoting])}, day)
    store = DirectoryStore(tmp_path / "lake")
    assert len(found_in_lake(store, SENTENCES)) >= 4

    erased(world, "c-2")

    assert found_in_lake(store, ["zarzaparrilla"]) == []
    assert superseded not in set(world.lake.object_ids())
    assert found_in_lake(store, ["key recorded_at is …, expected a time"]) != []
    before = {name: world.lake.pointer(name) for name in world.lake.pointers("")}
    assert erased(world, "c-2").objects == 0
    assert {name: world.lake.pointer(name) for name in world.lake.pointers("")} == before

    collect_events(world.recordings, MONDAY, world.lake, world.settings, NOW)
    again = last_import(table, world.lake)
    assert again is not None
    assert [each.file for each in again.set_aside] == ["row 1", "row 2"]
    assert found_in_lake(store, ["zarzaparrilla"]) == []
