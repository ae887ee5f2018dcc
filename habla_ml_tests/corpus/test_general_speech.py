"""General speech of all sources together: tables, one sound once, and how it stays apart from the classroom."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.corpus import general_speech, public_corpora
from habla_ml.corpus.build import build_day
from habla_ml.corpus.splits import make_snapshot
from habla_ml.errors import CorpusError, InputError
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import SpeechSource
from habla_ml_tests.testing.general_speech_sources import (
    list_sentences,
    make_common_voice_row,
    make_dataset_row,
    read_speech,
    write_common_voice,
    write_hugging_face,
    write_speech_table,
)
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)


def test_a_table_gives_its_clips_with_text_in_order_by_file_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    path = write_speech_table(folder, [("b.wav", "Buenos  días..."), ("a.wav", "Adiós.")])
    for name in ("b", "a"):
        write_wav(folder / f"{name}.wav", make_noise(seed=ord(name)))
    found = read_speech(tmp_path, SpeechSource(path=path))
    assert list_sentences(found) == ["Buenos días…", "Adiós."]
    first = found.utterances[0]
    assert np.array_equal(first.audio * 32768, make_noise(seed=ord("b")).astype(np.float32))
    assert (first.speaker, first.duration_s) == ("Ana", pytest.approx(0.4))
    again = read_speech(tmp_path, SpeechSource(path=folder))
    assert [each.segment_id for each in again.utterances] == [each.segment_id for each in found.utterances]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_table_with_an_unusable_row_is_refused(tmp_path: Path) -> None:
    path = write_speech_table(tmp_path / "t", [("a.wav", "Hola."), ("x.wav", "Hola."), ("a.wav", "[inaudible]")])
    write_wav(tmp_path / "t" / "a.wav", make_noise())
    with pytest.raises(CorpusError, match=r"2 rows are unusable: row 2: x\.wav .*; row 3: a\.wav .*only markers"):
        read_speech(tmp_path, SpeechSource(path=path))


def test_an_empty_table_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither"):
        read_speech(tmp_path, SpeechSource(path=tmp_path))
    with pytest.raises(CorpusError, match="it has no rows"):
        read_speech(tmp_path, SpeechSource(path=write_speech_table(tmp_path / "t", [])))


def test_sources_are_read_together_without_duplicate_audio(tmp_path: Path) -> None:
    first = write_hugging_face(tmp_path / "one", [make_dataset_row(0), make_dataset_row(1)])
    second = write_hugging_face(tmp_path / "two", [make_dataset_row(1), make_dataset_row(2)], licence="MIT")
    found = read_speech(tmp_path, first, second)
    assert list_sentences(found) == ["Frase 0.", "Frase 1.", "Frase 2."]
    assert [(each.name, each.clips, each.licence) for each in found.sources] == [
        ("one", 2, "CC0-1.0"),
        ("two", 1, "MIT"),
    ]
    assert found.sources[1].left_out == {"same sound as another": 1}


@pytest.mark.long
def test_general_speech_excludes_audio_with_withdrawn_consent(tmp_path: Path) -> None:
    source = write_hugging_face(tmp_path / "one", [make_dataset_row(0), make_dataset_row(1)])
    first, second = (each.audio_sha256 for each in read_speech(tmp_path, source).utterances)
    found = read_speech(tmp_path, source, erased={first})
    assert [each.audio_sha256 for each in found.utterances] == [second]
    assert found.sources[0].left_out == {"consent withdrawn": 1}
    with pytest.raises(CorpusError, match=r"all rows are excluded \(2 consent withdrawn\)"):
        read_speech(tmp_path, source, erased={first, second})


@pytest.mark.long
def test_general_speech_changes_neither_the_lake_nor_the_corpus(tmp_path: Path) -> None:
    source = write_common_voice(tmp_path / "cv", [make_common_voice_row(number) for number in range(3)])
    workspace = make_workspace(
        tmp_path / "world",
        training={"replay": [source.model_dump(mode="json")]},
        evaluation={
            "out_of_domain": [write_hugging_face(tmp_path / "hf", [make_dataset_row(5)]).model_dump(mode="json")]
        },
    )
    day = "2026-02-16"
    for hour in range(10, 20):
        session = write_session(workspace.recordings, f"{hour}000_20260216_{hour}0000", 2)
        write_corrections(session, {1: "uno dos", 2: "tres cuatro"})
    ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, NOW)
    collect_events(workspace.lake, day, workspace.settings, NOW)
    build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    before = sorted(each for each in (workspace.root / "lake").rglob("*") if each.is_file())
    replay = read_speech(tmp_path, *workspace.settings.training.replay)
    measured = read_speech(tmp_path, *workspace.settings.evaluation.out_of_domain)
    assert sorted(each for each in (workspace.root / "lake").rglob("*") if each.is_file()) == before
    snapshot = make_snapshot(workspace.lake, workspace.settings, workspace.conventions)
    assert sum(snapshot.counts.values()) == 20
    assert len(replay.utterances) == 3
    assert len(measured.utterances) == 1


def test_the_readers_of_general_speech_import_nothing_that_writes_recordings_or_events() -> None:
    writers = {"publish_day", "append_events", "import_table", "collect_events", "move_pointer", "put_bytes"}
    for module in (general_speech, public_corpora):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        named |= {each.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
        assert not named & writers
