"""A ledger with many sounds, which are a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.corpus import splits
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.split_ledger import iterate_pinned_audio, load_ledger
from habla_ml.corpus.splits import make_snapshot
from habla_ml.erasure.matcher import ErasureMatcher
from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.erasure.table_index import load_index
from habla_ml.integrity.object_index import open_object_index
from habla_ml.integrity.walk import LakeWalk, ObjectFault
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.lake.lake import make_object_key
from habla_ml.settings import Settings
from habla_ml_tests.testing.habla_sessions import V1, make_workspace
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

CONVENTIONS = load_conventions(V1)
DAYS = ("2026-02-16", "2026-02-17")


def publish_snapshots(root: Path) -> tuple[Lake, list[str]]:
    """Publish three snapshots with sounds that two sessions share and sounds that leave; return their tables."""
    lake, settings, tables = create_empty_lake(root), make_workspace(root).settings, []
    for n_sessions in (30, 20, 25):
        first = [AnnotatedSegmentSpec(f"s{n}", k) for n in range(n_sessions) for k in (1, 2, 3)]
        second = [AnnotatedSegmentSpec(f"t{n}", 1, f"s{n * 3 % 30}/1") for n in range(n_sessions)]
        for day, lines in zip(DAYS, (first, second), strict=True):
            write_corpus_day(lake, day, lines, CONVENTIONS)
        tables.append(make_snapshot(lake, settings, CONVENTIONS).segments)
    return lake, tables


def read_pinned(lake: Lake) -> dict[str, str]:
    ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
    batches = iterate_pinned_audio(lake, ledger)
    return {row["audio_sha256"]: row["split"] for batch in batches for row in batch.to_pylist()}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose ledger has a table."""
    monkeypatch.setattr(splits, "MAX_LISTED_SOUNDS", 3)
    return publish_snapshots(tmp_path / "table")[0]


@pytest.mark.long
def test_a_table_of_sounds_decides_like_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, expected = publish_snapshots(tmp_path / "list")
    monkeypatch.setattr(splits, "MAX_LISTED_SOUNDS", 3)
    stored, found = publish_snapshots(tmp_path / "table")
    assert found == expected
    assert list(read_pinned(stored).items()) == list(read_pinned(listed).items())
    kinds = [
        type(load_ledger(each, each.read_pointer(catalogue.SPLIT_LEDGER)).pinned_audio) for each in (listed, stored)
    ]
    assert kinds == [dict, str]


def erase_sound(lake: Lake, settings: Settings, sound: str) -> None:
    index, matcher = load_index(lake), ErasureMatcher(frozenset(), frozenset({sound}))
    index.learn({each.sha256: each.size_bytes for each in lake.list_objects()})
    present = frozenset(lake.list_object_ids())
    PointerRewriter(lake, matcher, frozenset(), settings, present, index.find_clean(matcher)).rewrite_all()


def test_an_erased_sound_leaves_the_table_and_the_other_decisions_stay(lake: Lake, tmp_path: Path) -> None:
    pinned, groups = read_pinned(lake), load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER)).groups
    sound = next(iter(pinned))
    erase_sound(lake, make_workspace(tmp_path / "table").settings, sound)
    assert read_pinned(lake) == {name: split for name, split in pinned.items() if name != sound}
    assert load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER)).groups == groups


def test_a_missing_table_of_sounds_is_found(lake: Lake, tmp_path: Path) -> None:
    ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
    assert isinstance(ledger.pinned_audio, str)
    DirectoryStore(tmp_path / "table" / "lake").delete(make_object_key(ledger.pinned_audio))
    pointer = lake.read_pointer(catalogue.SPLIT_LEDGER)
    assert pointer is not None
    with open_object_index(tmp_path) as index:
        index.add(lake.list_objects())
        found = list(LakeWalk(lake, index).follow(pointer.name, pointer.value))
    assert found == [ObjectFault(pointer.name, "pinned_audio", ledger.pinned_audio, "is missing")]
