"""Exported snapshots open with the usual libraries and hold the same audio and text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.corpus.export import export_audio_folder, export_dataset, export_nemo, export_parquet
from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.errors import CorpusError
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import SpeechSource
from habla_ml_tests.testing.general_speech_sources import CC0, read_speech
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    make_workspace,
    write_corrections,
    write_session,
)

DAY = "2026-02-16"


def make_corpus(root: Path, sessions: int, **sections: Mapping[str, Any]) -> tuple[HablaWorkspace, Snapshot]:
    workspace = make_workspace(root, **sections)
    for number in range(sessions):
        session = write_session(workspace.recordings, f"{number}_20260216_10000{number}", 2)
        write_corrections(session, {1: f"Frase {number} uno.", 2: f"Frase {number} dos."})
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    return workspace, make_snapshot(workspace.lake, workspace.settings, workspace.conventions)


def test_the_dataset_opens_with_load_from_disk_and_holds_the_audio_bit_for_bit(tmp_path: Path) -> None:
    from datasets import Audio, DatasetDict, load_from_disk

    workspace, snapshot = make_corpus(tmp_path, 5)
    folder = export_dataset(workspace.lake, snapshot, tmp_path / "out" / "dataset")
    opened = load_from_disk(folder)
    assert isinstance(opened, DatasetDict)
    assert sorted(opened) == sorted(OPEN_SPLITS)
    for split in OPEN_SPLITS:
        part = opened[split]
        assert part.column_names[:5] == ["audio", "sentence", "segment_id", "session_id", "speaker"]
        assert part.features["audio"].sampling_rate == 16_000
        undecoded = part.cast_column("audio", Audio(decode=False))
        for row, utterance in zip(undecoded, read_utterances(workspace.lake, snapshot, split), strict=True):
            samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
            assert (row["sentence"], row["speaker"], rate) == (utterance.sentence, utterance.speaker, 16_000)
            assert np.array_equal(samples, utterance.audio)
    assert sum(len(part) for part in opened.values()) == 10
    assert [path.name for path in folder.parent.iterdir()] == ["dataset"]


def test_arrays_need_no_decoder(tmp_path: Path) -> None:
    from datasets import load_from_disk

    workspace, snapshot = make_corpus(tmp_path, 5)
    opened = load_from_disk(export_dataset(workspace.lake, snapshot, tmp_path / "arrays", as_arrays=True))
    for split in OPEN_SPLITS:
        for row, utterance in zip(opened[split], read_utterances(workspace.lake, snapshot, split), strict=True):
            assert np.array_equal(np.asarray(row["audio"], np.float32), utterance.audio)
            assert (row["segment_id"], row["sentence"]) == (utterance.segment_id, utterance.sentence)


def test_an_audio_folder_has_files_with_their_text_and_speakers(tmp_path: Path) -> None:
    """`datasets` 5 opens it with torchcodec only, so the files are read directly."""
    workspace, snapshot = make_corpus(tmp_path, 5)
    folder = export_audio_folder(workspace.lake, snapshot, tmp_path / "folder")
    for split in OPEN_SPLITS:
        with (folder / split / "metadata.csv").open(encoding="utf-8", newline="") as table:
            rows = {each["segment_id"]: each for each in csv.DictReader(table)}
        assert len(list((folder / split).glob("*.flac"))) == len(rows)
        for utterance in read_utterances(workspace.lake, snapshot, split):
            row = rows.pop(utterance.segment_id)
            samples, rate = soundfile.read(folder / split / row["file_name"], dtype="float32")
            assert (row["sentence"], row["speaker"], rate) == (utterance.sentence, utterance.speaker, 16_000)
            assert np.array_equal(samples, utterance.audio)
        assert not rows


def test_an_empty_split_is_exported_as_an_empty_split(tmp_path: Path) -> None:
    from datasets import load_from_disk

    workspace, snapshot = make_corpus(tmp_path, 1)
    opened = load_from_disk(export_dataset(workspace.lake, snapshot, tmp_path / "dataset"))
    assert {split: len(part) for split, part in opened.items()} == {"train": 2, "validation": 0, "test": 0}
    assert opened["test"].features == opened["train"].features


@pytest.mark.long
def test_an_exported_split_is_read_as_general_speech(tmp_path: Path) -> None:
    workspace, snapshot = make_corpus(tmp_path, 5)
    folder = export_dataset(workspace.lake, snapshot, tmp_path / "dataset")
    source = SpeechSource.model_validate({"path": folder / "train", "kind": "hf", **CC0})
    found = read_speech(tmp_path, source).utterances
    written = list(read_utterances(workspace.lake, snapshot, "train"))
    assert [(each.sentence, each.audio_sha256) for each in found] == [
        (each.sentence, each.audio_sha256) for each in written
    ]


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    workspace, snapshot = make_corpus(tmp_path, 1)
    (tmp_path / "dataset").mkdir()
    with pytest.raises(CorpusError, match="exists already"):
        export_dataset(workspace.lake, snapshot, tmp_path / "dataset")


def test_a_failed_export_leaves_no_folder(tmp_path: Path) -> None:
    from habla_ml.errors import LakeError

    workspace, snapshot = make_corpus(tmp_path, 3)
    recordings = snapshot.recordings[DAY]
    (workspace.root / "lake" / "objects" / recordings[:2] / recordings).unlink()
    with pytest.raises(LakeError):
        export_dataset(workspace.lake, snapshot, tmp_path / "out" / "dataset")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.long
def test_parquet_opens_with_load_dataset_as_audio_and_text(tmp_path: Path) -> None:
    from datasets import Audio, load_dataset

    workspace, snapshot = make_corpus(tmp_path, 5)
    folder = export_parquet(workspace.lake, snapshot, tmp_path / "parquet")
    opened = load_dataset("parquet", data_dir=str(folder / "data"), cache_dir=str(tmp_path / "cache"))
    for split in OPEN_SPLITS:
        assert opened[split].features["audio"].sampling_rate == 16_000
        rows = opened[split].cast_column("audio", Audio(decode=False))
        for row, each in zip(rows, read_utterances(workspace.lake, snapshot, split), strict=True):
            samples, _ = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
            assert np.array_equal(samples, each.audio)
            assert (row["sentence"], row["segment_id"]) == (each.sentence, each.segment_id)


def test_parquet_without_an_empty_split_opens(tmp_path: Path) -> None:
    from datasets import load_dataset

    workspace, snapshot = make_corpus(tmp_path, 1)
    folder = export_parquet(workspace.lake, snapshot, tmp_path / "parquet")
    opened = load_dataset("parquet", data_dir=str(folder / "data"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in opened.items()} == {"train": 2}


def test_a_nemo_manifest_gives_file_duration_text_and_speaker_of_each_utterance(tmp_path: Path) -> None:
    people = tmp_path / "people.yaml"
    people.write_text('people: [{name: Profe, role: teacher, labels: [Speaker A], sessions: ["[0-2]_*"]}]')
    workspace, snapshot = make_corpus(tmp_path, 5, corpus={"speakers": str(people)})
    roles = []
    folder = export_nemo(workspace.lake, snapshot, tmp_path / "nemo")
    for split in OPEN_SPLITS:
        lines = [json.loads(line) for line in (folder / f"{split}_manifest.json").read_text("utf-8").splitlines()]
        for line, each in zip(lines, read_utterances(workspace.lake, snapshot, split), strict=True):
            samples, _ = soundfile.read(folder / line["audio_filepath"], dtype="float32")
            assert np.array_equal(samples, each.audio)
            assert (line["text"], line["duration"]) == (each.sentence, each.duration_s)
            enrolled = each.session_id[0] in "012"
            assert line["speaker"] == ("Profe" if enrolled else "Speaker A")
            assert line["role"] == ("teacher" if enrolled else "")
            roles.append(line["role"])
    assert sorted(roles) == [""] * 4 + ["teacher"] * 6
