"""General speech of all sources together: tables, one sound once, and how it stays apart from the classroom."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from habla_ml.annotation import collect_events
from habla_ml.corpus import general_speech, public_speech
from habla_ml.corpus.build import build_day
from habla_ml.corpus.general_speech import refuse_tested_sounds
from habla_ml.corpus.splits import make_snapshot
from habla_ml.errors import CorpusError, InputError
from habla_ml.recordings import ingest_day
from habla_ml.settings import SpeechSource
from habla_ml_tests.corpus.outside_speech import (
    common_voice,
    embedded,
    hugging_face,
    read,
    sentences,
    table,
    voice_row,
)
from habla_ml_tests.recordings.world import (
    NOW,
    make_world,
    speech,
    write_corrections,
    write_session,
    write_wav,
)


def test_a_tables_clips_come_with_their_text_in_its_order_by_file_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    path = table(folder, [("b.wav", "Buenos  días..."), ("a.wav", "Adiós.")])
    for name in ("b", "a"):
        write_wav(folder / f"{name}.wav", speech(seed=ord(name)))
    found = read(tmp_path, SpeechSource(path=path))
    assert sentences(found) == ["Buenos días…", "Adiós."]
    first = found.utterances[0]
    assert np.array_equal(first.audio * 32768, speech(seed=ord("b")).astype(np.float32))
    assert (first.speaker, first.duration_s) == ("Ana", pytest.approx(0.4))
    again = read(tmp_path, SpeechSource(path=folder))
    assert [each.segment_id for each in again.utterances] == [each.segment_id for each in found.utterances]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_table_with_a_row_that_cannot_be_used_is_refused_whole(tmp_path: Path) -> None:
    path = table(tmp_path / "t", [("a.wav", "Hola."), ("x.wav", "Hola."), ("a.wav", "[inaudible]")])
    write_wav(tmp_path / "t" / "a.wav", speech())
    with pytest.raises(
        CorpusError, match=r"2 rows cannot be used: row 2: x\.wav .*; row 3: a\.wav .*only markers"
    ):
        read(tmp_path, SpeechSource(path=path))


def test_an_empty_table_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither"):
        read(tmp_path, SpeechSource(path=tmp_path))
    with pytest.raises(CorpusError, match="it has no rows"):
        read(tmp_path, SpeechSource(path=table(tmp_path / "t", [])))


def test_sources_are_read_together_and_a_sound_once(tmp_path: Path) -> None:
    first = hugging_face(tmp_path / "one", [embedded(0), embedded(1)])
    second = hugging_face(tmp_path / "two", [embedded(1), embedded(2)], licence="MIT")
    found = read(tmp_path, first, second)
    assert sentences(found) == ["Frase 0.", "Frase 1.", "Frase 2."]
    assert [(each.name, each.clips, each.licence) for each in found.sources] == [
        ("one", 2, "CC0-1.0"),
        ("two", 1, "MIT"),
    ]
    assert found.sources[1].left_out == {"same sound as another": 1}


def test_a_withdrawn_voice_stays_out_of_general_speech_too(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "one", [embedded(0), embedded(1)])
    first, second = (each.audio_sha256 for each in read(tmp_path, source).utterances)
    found = read(tmp_path, source, erased={first})
    assert [each.audio_sha256 for each in found.utterances] == [second]
    assert found.sources[0].left_out == {"consent withdrawn": 1}
    with pytest.raises(CorpusError, match=r"none of its rows is left \(2 consent withdrawn\)"):
        read(tmp_path, source, erased={first, second})


def test_general_speech_leaves_the_lake_and_the_classrooms_corpus_as_they_were(tmp_path: Path) -> None:
    source = common_voice(tmp_path / "cv", [voice_row(number) for number in range(3)])
    world = make_world(
        tmp_path / "world",
        training={"replay": [source.model_dump(mode="json")]},
        evaluation={"out_of_domain": [hugging_face(tmp_path / "hf", [embedded(5)]).model_dump(mode="json")]},
    )
    day = "2026-02-16"
    for hour in range(10, 20):
        session = write_session(world.recordings, f"{hour}000_20260216_{hour}0000", 2)
        write_corrections(session, {1: "uno dos", 2: "tres cuatro"})
    ingest_day(world.recordings, day, world.lake, world.settings, NOW)
    collect_events(world.recordings, day, world.lake, world.settings, NOW)
    build_day(world.lake, day, world.conventions, world.settings)
    before = sorted(each for each in (world.root / "lake").rglob("*") if each.is_file())
    replay = read(tmp_path, *world.settings.training.replay)
    measured = read(tmp_path, *world.settings.evaluation.out_of_domain)
    assert sorted(each for each in (world.root / "lake").rglob("*") if each.is_file()) == before
    snapshot = make_snapshot(world.lake, world.settings, world.conventions)
    assert sum(snapshot.counts.values()) == 20
    refuse_tested_sounds(world.lake, snapshot, "training.replay", replay.utterances, measured.utterances)
    for key in ("training.replay", "training.first_stage"):
        with pytest.raises(CorpusError, match=rf"1 clips of {key} are also in evaluation\.out_of_domain"):
            refuse_tested_sounds(world.lake, snapshot, key, measured.utterances, measured.utterances)


def test_the_classrooms_own_test_clips_are_refused_as_replay(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    day, listed = "2026-02-16", []
    for hour in range(10, 20):
        session = write_session(world.recordings, f"{hour}000_20260216_{hour}0000", 2)
        write_corrections(session, {1: "uno dos", 2: "tres cuatro"})
        listed += [(f"{session.name}/segment_00{number}.wav", "uno") for number in (1, 2)]
    ingest_day(world.recordings, day, world.lake, world.settings, NOW)
    collect_events(world.recordings, day, world.lake, world.settings, NOW)
    build_day(world.lake, day, world.conventions, world.settings)
    snapshot = make_snapshot(world.lake, world.settings, world.conventions)
    own = read(tmp_path, SpeechSource(path=table(world.recordings, listed)))
    judged = snapshot.counts["test"] + snapshot.counts["validation"]
    assert judged > 0
    with pytest.raises(CorpusError, match=rf"{judged} clips .* the classroom's (test|validation) split"):
        refuse_tested_sounds(world.lake, snapshot, "training.replay", own.utterances, ())


def test_the_readers_of_general_speech_know_nothing_that_writes_recordings_or_events() -> None:
    writers = {"publish_day", "append_events", "import_table", "collect_events", "move_pointer", "put_bytes"}
    for module in (general_speech, public_speech):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        named |= {each.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
        assert not named & writers
