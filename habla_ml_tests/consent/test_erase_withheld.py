"""Erase withheld segments, segments that a later ingest refused, and quotes in lists of skipped inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.sources import collect_events
from habla_ml.annotation.sources.tables.table_import import load_last_import
from habla_ml.consent.register import load_register
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.erasure.erase import ErasurePlan, ErasureReport, erase, plan_erasure
from habla_ml.lake import DirectoryStore, catalogue
from habla_ml.recordings.days import load_day, put_skipped_inputs
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.recordings.sessions import Skipped
from habla_ml_tests.testing.byte_search import find_texts_in_lake
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    make_noise,
    make_workspace,
    set_age,
    write_corrections,
    write_session,
)
from habla_ml_tests.testing.pending_consents import (
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

WITHDRAWN = "2026-05-01"


def make_sentence(session: str, number: int) -> str:
    return f"Lo que dijo {session} {number}."


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """A session and single voices are withheld, but the event log of an earlier version has their annotations."""
    (tmp_path / "consents.yaml").touch()
    workspace = make_workspace(
        tmp_path,
        consent={"registry": str(tmp_path / "consents.yaml")},
        recordings={"keep_raw_stream": True},
        corpus={"slowest_chars_per_s": 0.0, "fastest_chars_per_s": 1000.0},
    )
    register(workspace, ANA, REMEDIOS)
    for name in (TALLER, CLASE, LATE):
        folder = write_session(workspace.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
        (folder / "raw_stream.webm").write_bytes(b"every voice in " + name.encode())
        set_age(folder, 24)
    for day in (MONDAY, TUESDAY):
        ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
        append_events(
            workspace.lake,
            day,
            [make_event(name, number) for name in list_sessions_of_day(day) for number in (1, 2)],
            {},
        )
        build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    return workspace


def list_sessions_of_day(day: str) -> list[str]:
    return [name for name in (TALLER, CLASE, LATE) if day.replace("-", "") in name]


def make_event(session: str, number: int) -> AnnotationEvent:
    day = next(day for day in (MONDAY, TUESDAY) if session in list_sessions_of_day(day))
    return AnnotationEvent(
        make_id(session, number),
        session,
        day,
        make_sentence(session, number),
        "corrected",
        "",
        "",
        HABLA_SOURCE,
        NOW,
        None,
    )


def make_id(session: str, number: int) -> str:
    return segment_id(HABLA_SOURCE, session, f"segment_{number:03d}.wav")


def plan_for(workspace: HablaWorkspace, contributor: str) -> ErasurePlan:
    path = workspace.settings.consent.registry
    assert path is not None
    found = load_register(path).find(contributor)
    assert found is not None
    return plan_erasure(workspace.lake, found, workspace.settings, NOW)


def erase_contributor(workspace: HablaWorkspace, contributor: str) -> ErasureReport:
    return erase(workspace.lake, plan_for(workspace, contributor), workspace.settings, NOW)


def find_left_texts(workspace: HablaWorkspace, *words: tuple[str, int]) -> list[str]:
    return find_texts_in_lake(DirectoryStore(workspace.root / "lake"), [make_sentence(*each) for each in words])


def test_annotations_of_withheld_segments_are_erased(workspace: HablaWorkspace) -> None:
    assert len(find_left_texts(workspace, (CLASE, 2), (LATE, 2))) >= 2
    register(workspace, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    found = plan_for(workspace, "c-2")
    assert found.contributor_data.withheld == {make_id(each, 2) for each in (TALLER, CLASE, LATE)}
    report = erase_contributor(workspace, "c-2")
    assert report.segments == 0
    assert [step for step in report.left_to_person if "3 sessions" in step and CLASE in step] != []
    assert find_left_texts(workspace, (CLASE, 2), (LATE, 2), (TALLER, 2)) == []
    assert {make_id(each, 2) for each in (TALLER, CLASE, LATE)} <= read_tombstones(workspace.lake).segments
    for kept in ((CLASE, 1), (LATE, 1), (TALLER, 1)):
        assert find_left_texts(workspace, kept) != []
    assert plan_for(workspace, "c-2").contributor_data.withheld == frozenset()


def test_annotations_of_a_session_that_habla_deleted_are_erased(workspace: HablaWorkspace) -> None:
    for name in (CLASE, LATE):
        for path in (workspace.recordings / name).iterdir():
            path.unlink()
        (workspace.recordings / name).rmdir()
    register(workspace, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    erase_contributor(workspace, "c-2")
    assert find_left_texts(workspace, (CLASE, 2), (LATE, 2)) == []
    assert find_left_texts(workspace, (CLASE, 1)) != []


def test_an_erased_withheld_voice_stays_out_after_its_entry_is_removed(workspace: HablaWorkspace) -> None:
    register(workspace, ANA, {**REMEDIOS, "withdrawn": WITHDRAWN})
    erase_contributor(workspace, "c-2")
    register(workspace, ANA)
    for name in (CLASE, LATE):
        write_corrections(workspace.recordings / name, {number: make_sentence(name, number) for number in (1, 2)})
        (workspace.recordings / name / "metadata.json").touch()
    for day in (MONDAY, TUESDAY):
        ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
        collect_events(workspace.lake, day, workspace.settings, NOW)
    assert find_left_texts(workspace, (CLASE, 2), (LATE, 2)) == []
    voice = make_noise(0.4, sum(CLASE.encode()) * 1000 + 2).astype("<i2").tobytes()
    assert not any(voice in path.read_bytes() for path in (workspace.root / "lake").rglob("*") if path.is_file())


def plan_training(workspace: HablaWorkspace) -> Snapshot:
    snapshot = make_snapshot(workspace.lake, workspace.settings, workspace.conventions)
    value = {
        "version": "v1",
        "snapshot": snapshot.id,
        "recipe": workspace.lake.put_bytes(b"none"),
        "corpus_hours": 1.0,
    }
    workspace.lake.move_pointer("models/v1/plan", value, None)
    return snapshot


@pytest.mark.long
def test_a_voice_that_a_later_ingest_refused_is_counted_with_its_models(workspace: HablaWorkspace) -> None:
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN})
    for day in (MONDAY, TUESDAY):
        ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
        build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    plan_training(workspace)
    streams = load_day(workspace.lake, MONDAY)
    assert streams is not None
    assert CLASE in streams.raw_streams
    register(workspace, {**ANA, "given": GIVEN}, {**REMEDIOS, "given": GIVEN, "withdrawn": WITHDRAWN})
    for _ in range(2):  # the first ingest writes tombstones, the second drops the rows
        for name in (TALLER, CLASE, LATE):
            (workspace.recordings / name / "metadata.json").touch()
        for day in (MONDAY, TUESDAY):
            ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
    held = load_day(workspace.lake, MONDAY)
    assert held is not None
    assert held.segments == 2
    report = erase_contributor(workspace, "c-2")
    assert (report.segments, report.trained_versions) == (3, ("v1",))
    held = load_day(workspace.lake, MONDAY)
    assert held is not None
    assert held.raw_streams == {}
    assert find_left_texts(workspace, (CLASE, 2), (LATE, 2), (TALLER, 2)) == []


SENTENCES = ("Pues la zarzaparrilla", "Ayer la zarzaparrilla", "El gato zarzaparrilla", "hoy zarzaparrilla")
OLD_REASONS = (
    f"has the status {SENTENCES[0]!r}, expected corrected, confirmed, unusable",
    f"has {SENTENCES[1]!r} as annotated_at, expected a time like 2026-02-16T14:30:22",
    f"lacks the column audio_path; found {SENTENCES[3]}, clip.wav",
)


def make_old_skipped_inputs(name: str) -> list[Skipped]:
    return [
        Skipped(name, f"row 1: {SENTENCES[2]}", OLD_REASONS[0]),
        Skipped(name, "row 2: clip.wav", OLD_REASONS[1]),
        Skipped(name, "words.csv", OLD_REASONS[2]),
    ]


def make_table_workspace(root: Path) -> HablaWorkspace:
    (root / "consents.yaml").touch()
    table = root / "tables" / "words.csv"
    table.parent.mkdir()
    table.write_text(f"audio_path,transcript,status\nclip.wav,Hola.,{SENTENCES[0]}\n{SENTENCES[2]},Hola.,\n", "utf-8")
    workspace = make_workspace(
        root, consent={"registry": str(root / "consents.yaml")}, annotation={"tables": [str(table)]}
    )
    write_session(workspace.recordings, CLASE, 1)
    register(workspace, {**REMEDIOS, "withdrawn": WITHDRAWN})
    ingest_day(workspace.recordings, MONDAY, workspace.lake, workspace.settings, NOW)
    collect_events(workspace.lake, MONDAY, workspace.settings, NOW)
    return workspace


def read_table_pointer(workspace: HablaWorkspace) -> Any:
    (name,) = workspace.lake.list_pointers("tables/")
    return workspace.lake.read_pointer(name)


def test_quotes_in_old_lists_of_skipped_inputs_are_erased(tmp_path: Path) -> None:
    workspace = make_table_workspace(tmp_path)
    table = workspace.settings.annotation.tables[0]
    superseded = put_skipped_inputs(workspace.lake, make_old_skipped_inputs("tables-words")[:1])
    pointer = read_table_pointer(workspace)
    listed = put_skipped_inputs(workspace.lake, make_old_skipped_inputs("tables-words"))
    workspace.lake.move_pointer(pointer.name, {**pointer.value, "set_aside": listed}, pointer)
    day = workspace.lake.read_pointer(catalogue.RECORDINGS.name(MONDAY))
    assert day is not None
    quoting = Skipped(CLASE, "metadata.json", f"key recorded_at is {SENTENCES[1]!r}, expected a time; taken as missing")
    workspace.lake.move_pointer(
        day.name, {**day.value, "set_aside": put_skipped_inputs(workspace.lake, [quoting])}, day
    )
    store = DirectoryStore(tmp_path / "lake")
    assert len(find_texts_in_lake(store, SENTENCES)) >= 4

    erase_contributor(workspace, "c-2")

    assert find_texts_in_lake(store, ["zarzaparrilla"]) == []
    assert superseded not in set(workspace.lake.list_object_ids())
    assert find_texts_in_lake(store, ["key recorded_at is …, expected a time"]) != []
    before = {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")}
    assert erase_contributor(workspace, "c-2").objects == 0
    assert {name: workspace.lake.read_pointer(name) for name in workspace.lake.list_pointers("")} == before

    collect_events(workspace.lake, MONDAY, workspace.settings, NOW)
    again = load_last_import(table, workspace.lake)
    assert again is not None
    assert [each.file for each in again.skipped_inputs] == ["row 1", "row 2"]
    assert find_texts_in_lake(store, ["zarzaparrilla"]) == []
