"""Near-duplicate audio across train and the held-out splits leaves one side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.audio import dequantise
from habla_ml.audio.fingerprint import fingerprint
from habla_ml.corpus import near_duplicates
from habla_ml.corpus.build import build_day
from habla_ml.corpus.fingerprint_index import FingerprintSet, find_near_duplicates
from habla_ml.corpus.near_duplicates import Side, find_dropped_copies, read_dropped_copies
from habla_ml.corpus.snapshot import Snapshot, Split
from habla_ml.corpus.splits import make_snapshot
from habla_ml.corpus.stored_fingerprints import load_fingerprints, store_fingerprints
from habla_ml.errors import ObjectMissingError
from habla_ml.integrity.object_index import IndexedObject, open_object_index
from habla_ml.integrity.walk import LakeWalk
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    HablaWorkspace,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.text_corpora import create_empty_lake
from habla_ml_tests.testing.voiced_sounds import change_gain, change_one_sample, encode_and_decode, make_voice


@dataclass(frozen=True)
class SoundsOfADay:
    """Sounds of one day, and their splits now and in the previous snapshot."""

    splits: Mapping[str, Split]
    earlier: Mapping[str, Split] = field(default_factory=dict)

    def iterate_sounds(self) -> Iterator[tuple[str, Side, list[str]]]:
        sides: tuple[Side, Side] = ("train", "held_out")
        yield from ((DAY, side, self.find_sounds(DAY, side)) for side in sides)

    def find_sounds(self, day: str, side: Side) -> list[str]:
        return sorted(sound for sound, split in self.splits.items() if (split == "train") == (side == "train"))

    def find_earlier_splits(self, sounds: Collection[str]) -> Mapping[str, Split]:
        return {sound: split for sound, split in self.earlier.items() if sound in sounds}


@pytest.fixture
def voices(tmp_path: Path) -> HablaWorkspace:
    """Eight sessions with two voiced segments each."""
    workspace = make_workspace(tmp_path)
    for number in range(8):
        session = write_session(workspace.recordings, f"{number}_20260216_10000{number}", 2)
        for segment in (1, 2):
            write_wav(session / f"segment_00{segment}.wav", make_voice(2.0, 10 * number + segment))
        write_corrections(session, {1: f"Frase {number} uno.", 2: f"Frase {number} dos."})
    return workspace


def publish_snapshot_of(workspace: HablaWorkspace) -> Snapshot:
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    return make_snapshot(workspace.lake, workspace.settings, workspace.conventions)


def find_session(workspace: HablaWorkspace, snapshot: Snapshot, split: str) -> str:
    rows = read_table(workspace.lake, snapshot.segments).to_pylist()
    return next(row["session_id"] for row in rows if row["split"] == split)


@pytest.mark.long
@pytest.mark.parametrize("form", ["MP3", "OGG", "gain", "sample", "cut"])
def test_a_copy_of_test_audio_is_dropped_from_train_and_counted(voices: HablaWorkspace, form: str) -> None:
    first = publish_snapshot_of(voices)
    assert first.near_duplicates == {"train": 0, "validation": 0, "test": 0}
    test, train = (find_session(voices, first, split) for split in ("test", "train"))
    original = make_voice(2.0, 10 * int(test[0]) + 1)
    changes = {"gain": change_gain(original, -1), "sample": change_one_sample(original), "cut": original[2000:]}
    copy = changes[form] if form in changes else encode_and_decode(original, form)
    write_wav(voices.recordings / train / "segment_003.wav", copy)
    write_corrections(voices.recordings / train, {1: "Una frase.", 2: "Otra frase más.", 3: "Una copia."})
    second = publish_snapshot_of(voices)
    assert second.near_duplicates == {"train": 1, "validation": 0, "test": 0}
    assert second.counts == first.counts
    (dropped,) = read_dropped_copies(voices.lake)
    assert dropped.side == "train"
    rows = read_table(voices.lake, second.segments).to_pylist()
    assert dropped.audio_sha256 not in {row["audio_sha256"] for row in rows}
    assert dropped.duplicate_of in {row["audio_sha256"] for row in rows if row["session_id"] == test}


@pytest.mark.long
def test_an_unchanged_corpus_reads_no_audio_and_changes_no_pointer(voices: HablaWorkspace) -> None:
    snapshot = publish_snapshot_of(voices)
    names = list(voices.lake.list_pointers(""))
    before = [voices.lake.read_pointer(name) for name in names]
    for object_id in snapshot.recordings.values():
        voices.lake.fetch_path(object_id).unlink()
    again = make_snapshot(voices.lake, voices.settings, voices.conventions)
    assert again.id == snapshot.id
    assert [voices.lake.read_pointer(name) for name in voices.lake.list_pointers("")] == before


def test_only_new_sounds_of_a_changed_day_are_read(voices: HablaWorkspace) -> None:
    snapshot = publish_snapshot_of(voices)
    rows = read_table(voices.lake, snapshot.segments, ["audio_sha256"])["audio_sha256"].to_pylist()
    missing_object = "0" * 64
    known = [*load_fingerprints(voices.lake, DAY, missing_object, rows[1:])]
    assert sorted(name for each in known for name in each.names) == sorted(rows[1:])
    with pytest.raises(ObjectMissingError):
        next(load_fingerprints(voices.lake, DAY, missing_object, ["a new sound"]))


def make_lake_with_copies(root: Path) -> Lake:
    """Store fingerprints of `old` and `new`, nearly the same sound, and of `other`."""
    lake, sound = create_empty_lake(root), make_voice(2.0, 1)
    sounds = {"old": sound, "new": change_gain(sound, -6), "other": make_voice(2.0, 2)}
    store_fingerprints(lake, DAY, [(name, fingerprint(dequantise(pcm))) for name, pcm in sounds.items()])
    return lake


@pytest.mark.parametrize("most_listed", [10_000, 0])
def test_new_test_audio_that_an_earlier_snapshot_trained_on_is_dropped_from_test_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_listed: int
) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_LISTED_COPIES", most_listed)
    lake, recordings = make_lake_with_copies(tmp_path), {DAY: "0" * 64}
    sounds = SoundsOfADay({"old": "train", "new": "test", "other": "test"}, {"old": "train", "other": "test"})
    (dropped,) = find_copies(lake, sounds, recordings)
    assert dropped == ("new", "held_out")
    (read,) = read_dropped_copies(lake)
    assert (read.audio_sha256, read.side, read.duplicate_of) == ("new", "held_out", "old" if most_listed else "")
    # The training audio left the corpus, but models were trained on it.
    sounds = SoundsOfADay({"new": "test", "other": "test"}, {"old": "train", "other": "test"})
    assert find_copies(lake, sounds, recordings) == [dropped]


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("split", ["validation", "test", "sealed"])
def test_held_out_audio_stays_where_both_copies_are_new_or_known(tmp_path: Path, split: Split, is_known: bool) -> None:
    lake = make_lake_with_copies(tmp_path)
    splits: dict[str, Split] = {"old": "train", "new": split, "other": "train"}
    sounds = SoundsOfADay(splits, splits if is_known else {})
    assert find_copies(lake, sounds, {DAY: "0" * 64}) == [("old", "train")]
    (read,) = read_dropped_copies(lake)
    assert (read.audio_sha256, read.side, read.duplicate_of) == ("old", "train", "new")


def test_more_decisions_than_a_list_has_are_a_table_that_fsck_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_LISTED_COPIES", 1)
    lake, recordings = create_empty_lake(tmp_path), {DAY: "0" * 64}
    voices = {name: make_voice(2.0, seed) for seed, name in enumerate(("one", "two", "three"))}
    voices |= {f"copy of {name}": change_gain(sound, -6) for name, sound in voices.items()}
    store_fingerprints(lake, DAY, [(name, fingerprint(dequantise(pcm))) for name, pcm in voices.items()])
    splits: dict[str, Split] = {}
    for name in ("one", "two", "three"):  # one more pair in each snapshot
        splits |= {name: "train", f"copy of {name}": "test"}
        expected = sorted((each, "train") for each in splits if splits[each] == "train")
        assert sorted(find_copies(lake, SoundsOfADay(splits, {}), recordings)) == expected
    assert sorted(each.audio_sha256 for each in read_dropped_copies(lake)) == ["one", "three", "two"]
    assert len(read_dropped_copies(lake, 2)) == 2
    pointer = lake.read_pointer(catalogue.DROPPED_COPIES)
    assert pointer is not None
    lake.fetch_path(lake.get_json(pointer.value["dropped"])["dropped"]).unlink()
    with open_object_index(tmp_path) as index:
        index.add(IndexedObject(each.sha256, each.size_bytes) for each in lake.list_objects())
        (fault,) = LakeWalk(lake, index).follow(pointer.name, pointer.value)
    assert (fault.key, fault.fault) == ("dropped", "is missing")


def find_copies(lake: Lake, sounds: SoundsOfADay, recordings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return sound and side of each decision."""
    parts = [each.to_pylist() for each in find_dropped_copies(lake, sounds, recordings)]
    return [(row["audio_sha256"], row["side"]) for part in parts for row in part]


def test_other_audio_is_no_duplicate_even_with_much_digital_silence() -> None:
    silence = np.zeros(40_000, np.float32)
    sounds = [np.concatenate([dequantise(make_voice(1.5, seed)), silence]) for seed in range(20)]
    named = [(str(at), fingerprint(sound)) for at, sound in enumerate(sounds)]
    found = find_near_duplicates([FingerprintSet.of(named[:10])], [FingerprintSet.of(named[10:])])
    assert list(found) == []


def test_blocks_of_the_index_find_what_one_index_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    voices = [make_voice(1.0, seed) for seed in range(12)]
    held = FingerprintSet.of((f"held {at}", fingerprint(dequantise(pcm))) for at, pcm in enumerate(voices))
    copies = FingerprintSet.of(
        (f"copy {at}", fingerprint(dequantise(change_gain(pcm, -12)[1000:]))) for at, pcm in enumerate(voices[::2])
    )
    whole = {(each.indexed, each.found) for each in find_near_duplicates([held], [copies])}
    assert whole == {(f"held {2 * at}", f"copy {at}") for at in range(6)}
    monkeypatch.setattr("habla_ml.corpus.fingerprint_index.BLOCK_WORDS", 70)
    assert {(each.indexed, each.found) for each in find_near_duplicates([held], [copies])} == whole
