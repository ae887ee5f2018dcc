"""The index of an erasure saves reading, hides nothing, and is erased too."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from habla_ml.consent.register import load_register
from habla_ml.corpus.build import build_day
from habla_ml.erasure.contributor_data import DayPointers, find_contributor_data, find_withdrawn_days
from habla_ml.erasure.table_index import load_index
from habla_ml.lake import DirectoryStore, Lake, directory
from habla_ml.lake.catalogue import ERASURE_INDEX
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.counting_store import CountingStore
from habla_ml_tests.testing.erasure import erase_all, withdraw
from habla_ml_tests.testing.full_lake import (
    DAYS,
    ENROLLED_SPEAKER,
    FullLake,
    iterate_stored_bytes,
    list_sessions,
    load_contributor,
    make_full_lake,
    write_register,
)
from habla_ml_tests.testing.habla_sessions import NOW, write_session

TODAY = date(2026, 6, 1)


@pytest.fixture
def full_lake(tmp_path: Path) -> FullLake:
    return make_full_lake(tmp_path)


def save_index(full_lake: FullLake) -> list[str]:
    """Let the check of consents make the index; return its objects."""
    registry = full_lake.workspace.settings.consent.registry
    assert registry is not None
    find_withdrawn_days(full_lake.lake, load_register(registry), TODAY)
    pointer = full_lake.lake.read_pointer(ERASURE_INDEX)
    assert pointer is not None
    return list(pointer.value["parts"])


def test_a_search_reads_only_the_tables_that_have_the_contributor(full_lake: FullLake, tmp_path: Path) -> None:
    session = next(each for each in list_sessions() if DAYS[0].replace("-", "") in each)
    write_register(full_lake.workspace, {"contributor": "c-1", "withdrawn": "2026-05-01", "sessions": [session]})
    save_index(full_lake)
    store = CountingStore(tmp_path / "lake")
    lake = Lake(store, tmp_path / "cache of another machine")
    found = find_contributor_data(lake, load_contributor(full_lake.workspace))
    assert found.days == DAYS[:1]
    days = [load_day(full_lake.lake, day) for day in DAYS]
    cached = set(lake.list_cached_ids())
    assert [day.metadata in cached for day in days if day is not None] == [True, False]
    assert not {day.parquet for day in days if day is not None} & cached


def test_a_second_search_by_listings_reads_no_pointer_of_a_day_again(
    full_lake: FullLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw(full_lake)
    contributor = load_contributor(full_lake.workspace)
    monkeypatch.setattr(directory, "_SETTLED_AFTER_S", 0.0)  # a file that has just changed is always read
    store = CountingStore(tmp_path / "lake")
    lake = Lake(store, tmp_path / "cache of another machine")
    found = find_contributor_data(lake, contributor)
    assert len(found.segments) > 0
    day_pointers = [name for area in ("recordings/", "annotations/", "corpus/") for name in lake.list_pointers(area)]
    requests = [store.requests["pointers"]]
    for _ in range(2):
        assert find_contributor_data(lake, contributor, pointers=DayPointers.list(lake)) == found
        requests.append(store.requests["pointers"])
    first, second = (after - before for before, after in pairwise(requests))
    assert first - second == len(day_pointers) > 0


@pytest.mark.long
def test_speech_that_came_after_the_index_was_made_is_erased(full_lake: FullLake, tmp_path: Path) -> None:
    theirs = withdraw(full_lake)
    save_index(full_lake)
    workspace = full_lake.workspace
    entries = {1: {"raw_transcript": "Una frase nueva.", "speaker": ENROLLED_SPEAKER}}
    write_session(workspace.recordings, f"nueva_{DAYS[1].replace('-', '')}_180000", 1, entries=entries, seed=77)
    # The session enters while its speaker still consents.
    write_register(workspace, {"contributor": "c-1", "given": "2026-01-01", "speakers": [{"label": ENROLLED_SPEAKER}]})
    ingest_day(workspace.recordings, DAYS[1], full_lake.lake, workspace.settings, NOW)
    build_day(full_lake.lake, DAYS[1], workspace.conventions, workspace.settings)
    assert withdraw(full_lake) == theirs
    assert erase_all(full_lake).segments == len(theirs) + 1
    found = b"".join(data for _, data in iterate_stored_bytes(DirectoryStore(tmp_path / "lake"), []))
    assert b"nueva" in found  # its session, in the inputs of the day
    assert b"Una frase nueva" not in found


def test_a_search_without_a_whole_index_finds_everything(full_lake: FullLake, tmp_path: Path) -> None:
    withdraw(full_lake)
    lake, contributor = full_lake.lake, load_contributor(full_lake.workspace)
    found = find_contributor_data(lake, contributor)
    assert len(found.segments) > 0
    (part,) = save_index(full_lake)
    assert list(load_index(lake).parts) == [part]
    path = tmp_path / "lake" / "objects" / part[:2] / part
    path.chmod(0o644)
    content = path.read_bytes()
    for fault in ("a changed byte", "half a part", "a missing part", "another format", "no pointer"):
        pointer = lake.read_pointer(ERASURE_INDEX)
        assert pointer is not None
        if fault == "a changed byte":
            at = len(content) // 3
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        elif fault == "half a part":
            path.write_bytes(content[: len(content) // 2])
        elif fault == "a missing part":
            path.unlink()
        elif fault == "another format":
            path.write_bytes(content)
            lake.move_pointer(ERASURE_INDEX, {**pointer.value, "format": "habla_ml.table_index/0"}, pointer)
        else:
            lake.delete_pointer(ERASURE_INDEX)
        assert not load_index(lake).parts, fault
        assert find_contributor_data(lake, contributor) == found, fault


@pytest.mark.long
def test_an_erasure_removes_the_earlier_index_and_the_next_one_learns_nothing(full_lake: FullLake) -> None:
    withdraw(full_lake)
    whole = load_contributor(full_lake.workspace).sessions[0]
    parts = save_index(full_lake)
    assert any(whole.encode() in data for part in parts for _, data in read_columns(full_lake, part))
    erase_all(full_lake)
    assert not set(parts) & set(full_lake.lake.list_object_ids())
    kept = save_index(full_lake)
    for part in kept:
        for name, data in read_columns(full_lake, part):
            assert whole.encode() not in data, name
            assert ENROLLED_SPEAKER.encode() not in data, name
    erase_all(full_lake)
    assert save_index(full_lake) == kept


def read_columns(full_lake: FullLake, part: str) -> list[tuple[str, bytes]]:
    store = DirectoryStore(full_lake.workspace.root / "lake")
    return [(name, data) for name, data in iterate_stored_bytes(store, []) if part in name]
