"""Every raw stream of a session is kept, also those that a second Start overwrote."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from habla_ml.consent.register import Contributor
from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.errors import ObjectMissingError
from habla_ml.lake import catalogue
from habla_ml.lake.reachability import reachable_objects
from habla_ml.recordings.days import load_day
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, B, HablaWorkspace, ingest_into, make_workspace
from habla_ml_tests.testing.habla_states import write_live_session, write_second_start

FIRST, SECOND = b"\x1aE\xdf\xa3first lesson", b"\x1aE\xdf\xa3second lesson, which is longer"


@pytest.fixture
def archiving(tmp_path: Path) -> HablaWorkspace:
    return make_workspace(tmp_path, recordings={"keep_raw_stream": True})


def ingest_and_read_streams(workspace: HablaWorkspace, session: str = A) -> list[bytes]:
    ingest_into(workspace)
    day = load_day(workspace.lake, DAY)
    assert day is not None
    return [workspace.lake.get_bytes(each.object_id) for each in day.raw_streams.get(session, ())]


def test_a_second_start_keeps_both_streams_and_all_segments(archiving: HablaWorkspace) -> None:
    session = write_live_session(archiving.recordings, A, 2)
    (session / "raw_stream.webm").write_bytes(FIRST)
    assert ingest_and_read_streams(archiving) == [FIRST]
    write_second_start(session, 1, seed=9, stream=b"")  # the new stream is open and empty
    assert ingest_and_read_streams(archiving) == [FIRST]
    write_second_start(session, 1, seed=9, stream=SECOND)
    assert ingest_and_read_streams(archiving) == [FIRST, SECOND]
    assert ingest_into(archiving).segments == 4
    write_live_session(archiving.recordings, B, 1)
    assert ingest_and_read_streams(archiving) == [FIRST, SECOND]


def test_a_stream_that_grew_replaces_its_start(archiving: HablaWorkspace) -> None:
    session = write_live_session(archiving.recordings, A, 2)
    (session / "raw_stream.webm").write_bytes(FIRST)
    ingest_into(archiving)
    write_second_start(session, 1, seed=9, stream=SECOND[:12])
    assert ingest_and_read_streams(archiving) == [FIRST, SECOND[:12]]
    (session / "raw_stream.webm").write_bytes(SECOND)
    assert ingest_and_read_streams(archiving) == [FIRST, SECOND]


def test_the_pointer_of_an_earlier_version_is_read_and_extended(archiving: HablaWorkspace) -> None:
    session = write_live_session(archiving.recordings, A, 2)
    (session / "raw_stream.webm").write_bytes(FIRST)
    ingest_into(archiving)
    name = catalogue.RECORDINGS.name(DAY)
    pointer = archiving.lake.read_pointer(name)
    assert pointer is not None
    old = {A: archiving.lake.put_bytes(FIRST)}
    archiving.lake.move_pointer(name, {**pointer.value, "raw_streams": old}, pointer)
    assert ingest_and_read_streams(archiving) == [FIRST]
    write_second_start(session, 1, seed=9, stream=SECOND)
    assert ingest_and_read_streams(archiving) == [FIRST, SECOND]


def test_garbage_collection_and_erasure_reach_every_stream(archiving: HablaWorkspace) -> None:
    for name, seed in ((A, 1), (B, 2)):
        session = write_live_session(archiving.recordings, name, 1, seed=seed)
        (session / "raw_stream.webm").write_bytes(FIRST + name.encode())
    ingest_into(archiving)
    write_second_start(archiving.recordings / A, 1, seed=9, stream=SECOND)
    streams = [archiving.lake.put_bytes(each) for each in ingest_and_read_streams(archiving)]
    day = archiving.lake.read_pointer(catalogue.RECORDINGS.name(DAY))
    assert day is not None
    assert set(streams) <= reachable_objects([(day.name, day.value)], streams, lambda _: b"").keys()
    person = Contributor(contributor="c-1", given=date(2026, 1, 1), withdrawn=date(2026, 3, 1), sessions=(A,))
    erase(archiving.lake, plan_erasure(archiving.lake, person, archiving.settings, NOW), archiving.settings, NOW)
    for object_id in streams:
        with pytest.raises(ObjectMissingError):
            archiving.lake.get_bytes(object_id)
    left = load_day(archiving.lake, DAY)
    assert left is not None
    assert {name: len(each) for name, each in left.raw_streams.items()} == {B: 1}
