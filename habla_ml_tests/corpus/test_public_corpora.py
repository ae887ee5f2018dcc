"""Public corpora on disk, kind and hostile: Common Voice folders and Hugging Face datasets."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from habla_ml.corpus.general_speech import GENERAL_SPEECH_PREFIX
from habla_ml.corpus.public_corpora import read_common_voice
from habla_ml.errors import CorpusError, InputError
from habla_ml.settings import SpeechSource
from habla_ml_tests.testing.general_speech_sources import (
    CC0,
    HEADER,
    encode_tone,
    list_sentences,
    make_common_voice_row,
    make_dataset_row,
    read_speech,
    write_common_voice,
    write_hugging_face,
    write_spontaneous_speech,
)
from habla_ml_tests.testing.habla_sessions import (
    make_noise,
    write_wav,
)


def test_common_voice_is_read_with_hashed_speakers_and_its_licence(tmp_path: Path) -> None:
    source = write_common_voice(tmp_path / "cv-es", [make_common_voice_row(number) for number in range(4)])
    found = read_speech(tmp_path, source)
    assert list_sentences(found) == [f"Esta es la frase {number}." for number in range(4)]
    assert len({each.speaker for each in found.utterances}) == 2
    assert all(each.session_id == f"{GENERAL_SPEECH_PREFIX}:cv-es:{each.speaker}" for each in found.utterances)
    assert all(f"{number:0128x}" not in repr(found) for number in range(2))
    for each in found.utterances:
        assert each.duration_s == pytest.approx(1.0, abs=0.06)
        assert len(each.audio) == round(each.duration_s * 16_000)
        assert -15 < each.loudness_dbfs < -12  # a sine of 0.3: 20·log10(0.3/√2) = −13.5
    [described] = found.sources
    assert (described.kind, described.licence, described.origin, described.clips) == (
        "common_voice",
        "CC0-1.0",
        "https://example.org/corpus",
        4,
    )
    assert described.hours == pytest.approx(4 / 3600, rel=0.06)


def test_filters_on_votes_and_accents_are_applied_and_recorded(tmp_path: Path) -> None:
    rows = [
        make_common_voice_row(1),
        make_common_voice_row(2),
        make_common_voice_row(3, up_votes="1.0"),  # pandas writes a column with an empty cell so
        make_common_voice_row(5, down_votes="1"),
    ]
    source = write_common_voice(
        tmp_path / "cv", rows, fewest_up_votes=2, most_down_votes=0, accents=["andalucía"], most_hours=2.0
    )
    found = read_speech(tmp_path, source)
    assert list_sentences(found) == ["Esta es la frase 1."]
    assert found.sources[0].left_out == {"by the filters": 3}
    assert found.sources[0].selection == "up votes ≥ 2; down votes ≤ 0; accents andalucía; at most 2 h"
    with pytest.raises(CorpusError, match=r"all rows are excluded \(4 by the filters\)"):
        read_speech(tmp_path, source.model_copy(update={"fewest_up_votes": 9}))


@pytest.mark.long
def test_a_sample_by_hours_is_bounded_spread_out_and_reproducible(tmp_path: Path) -> None:
    source = write_common_voice(
        tmp_path / "cv", [make_common_voice_row(number) for number in range(12)], most_hours=5.5 / 3600
    )
    first, again = read_speech(tmp_path, source), read_speech(tmp_path, source)
    assert list_sentences(first) == list_sentences(again)
    assert len(first.utterances) == 5
    assert list_sentences(first) != [f"Esta es la frase {number}." for number in range(5)]
    tsv = source.path / "validated.tsv"
    header, *lines = tsv.read_text().splitlines()
    tsv.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert list_sentences(read_speech(tmp_path, source)) == list_sentences(first)
    assert first.sources == again.sources


def test_hostile_rows_of_common_voice_are_skipped_and_the_others_used(tmp_path: Path) -> None:
    folder = tmp_path / "cv"
    rows = [
        make_common_voice_row(0),
        make_common_voice_row(1, path="../../outside.mp3"),
        make_common_voice_row(2, path=str(tmp_path / "outside.mp3")),
        make_common_voice_row(3, path="link.mp3"),
        make_common_voice_row(4, path="missing.mp3"),
        make_common_voice_row(5, path="text.mp3"),
        make_common_voice_row(6, sentence="[inaudible]"),
        make_common_voice_row(7, up_votes="many"),
        make_common_voice_row(8, path="copy.mp3"),
        make_common_voice_row(9, path="pipe.mp3"),
        make_common_voice_row(10, path="long.mp3"),
        make_common_voice_row(11),
    ]
    source = write_common_voice(folder, rows)
    clips = folder / "clips"
    (tmp_path / "outside.mp3").write_bytes(encode_tone(50))
    for name in ("link.mp3", "missing.mp3", "pipe.mp3"):
        (clips / name).unlink()
    (clips / "link.mp3").symlink_to(tmp_path / "outside.mp3")
    (clips / "text.mp3").write_text("#EXTM3U\n/etc/passwd\n")
    (clips / "copy.mp3").write_bytes((clips / rows[0]["path"]).read_bytes())
    (clips / "long.mp3").write_bytes(encode_tone(60, seconds=7))
    os.mkfifo(clips / "pipe.mp3")
    with (folder / "validated.tsv").open("ab") as out:
        out.write(b"only\tthree\tcells\n" + b"x" * 200_000 + b"\n\xff\xfe\n")
        out.write("\t".join(make_common_voice_row(12)[name] for name in HEADER).encode())
    (clips / "common_voice_es_12.mp3").write_bytes(encode_tone(12))
    found = read_speech(tmp_path, source, max_duration_s=5)
    assert list_sentences(found) == [f"Esta es la frase {number}." for number in (0, 11, 12)]
    assert found.sources[0].left_out == {"cannot be used": 12, "same sound as another": 1}
    reasons = {each.file.split(":")[0]: each.reason for each in found.skipped_inputs}
    for row, reason in {
        "row 2": "leaves the folder",
        "row 3": "leaves the folder",
        "row 4": "leaves the folder",
        "row 5": "does not exist",
        "row 6": "no audio of a known kind",
        "row 7": "only markers",
        "row 8": "not whole numbers",
        "row 10": "pipe or device",
        "row 11": "more than the 5 s",
        "row 13": "has 3 cells, the header 9",
        "row 14": "more than 65536 characters",
        "row 15": "not UTF-8",
    }.items():
        assert reason in reasons.pop(row)
    assert reasons == {}


@pytest.mark.parametrize(
    "header",
    [
        "client_id path sentence up_votes down_votes age gender accent",  # 2019 to 2020
        "client_id path sentence up_votes down_votes age gender accent locale segment",  # 2020 to 2021
        "client_id path sentence up_votes down_votes age gender accents variant locale segment",  # 2023
        "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment",
    ],
)
def test_every_release_of_common_voice_is_read(tmp_path: Path, header: str) -> None:
    row = make_common_voice_row(1)
    decomposed = unicodedata.normalize("NFD", "ANDALUCÍA")
    source = write_common_voice(tmp_path / "cv", [row], accents=[decomposed], fewest_up_votes=2)
    if "accents" not in header:
        row["path"] = row["path"].removesuffix(".mp3")  # as the first releases write it
    cells = {**row, "accent": row["accents"], "sentence_id": "a1", "sentence_domain": "general,finance"}
    lines = [header.split(), [cells.get(name, "") for name in header.split()]]
    (source.path / "validated.tsv").write_text("".join("\t".join(each) + "\n" for each in lines))
    (source.path / "clips" / "common_voice_es_1.mp3").write_bytes(encode_tone(1))
    assert list_sentences(read_speech(tmp_path, source)) == ["Esta es la frase 1."]


def test_quotes_of_common_voice_are_read_as_they_are_meant(tmp_path: Path) -> None:
    written = {
        'Dijo "sí" y ya.': 'Dijo "sí" y ya.',
        'Dijo ""no"" y ya.': 'Dijo "no" y ya.',
        '"""Quizá"" dijo Ana."': '"Quizá" dijo Ana.',
        '"Una frase entera."': "Una frase entera.",
        '"Sin cerrar': '"Sin cerrar',
        'Al final"': 'Al final"',
    }
    rows = [make_common_voice_row(number, sentence=text) for number, text in enumerate(written)]
    source = write_common_voice(tmp_path / "cv", rows)
    whole = "\t".join(make_common_voice_row(6, sentence='Va ""entera"", sí.')[name] for name in HEADER)
    every = "\t".join(f'"{make_common_voice_row(7)[name]}"' for name in HEADER)
    with (source.path / "validated.tsv").open("a") as out:
        out.write(f'"{whole}"\n{every}\n')
    for number in (6, 7):
        (source.path / "clips" / f"common_voice_es_{number}.mp3").write_bytes(encode_tone(number))
    found = [each.text for each in read_common_voice(source)]
    assert found == [*written.values(), 'Va "entera", sí.', "Esta es la frase 7."]
    assert len(read_speech(tmp_path, source).utterances) == 8


def test_spontaneous_speech_is_read_with_its_votes_and_accents(tmp_path: Path) -> None:
    rows = [
        {
            "transcription": "[disfluency] Pues yo [Disfluency] creo [noise] que sí [disfluency].",
            "votes": "2",
            "accents": "Andalucía",
        },
        {"transcription": "", "votes": "0", "accents": "Andalucía"},
        {"transcription": "Pocas voces.", "votes": "0", "accents": "Andalucía"},
        {"transcription": "De otro sitio.", "votes": "2", "accents": "México"},
    ]
    source = write_spontaneous_speech(tmp_path / "sps", rows, fewest_up_votes=1, accents=["andalucía"])
    found = read_speech(tmp_path, source)
    assert list_sentences(found) == ["Pues yo creo que sí."]
    assert found.sources[0].left_out == {"by the filters": 3}
    table = source.path / "ss-corpus-es.tsv"
    assert list_sentences(read_speech(tmp_path, source.model_copy(update={"path": table}))) == list_sentences(found)
    with pytest.raises(InputError, match="lacks the column down_votes"):
        read_speech(tmp_path, source.model_copy(update={"most_down_votes": 0}))
    table.unlink()
    with pytest.raises(InputError, match=r"holds no validated.tsv and 0 ss-corpus-\*.tsv"):
        read_speech(tmp_path, source)


def test_a_clips_folder_that_links_outside_is_refused(tmp_path: Path) -> None:
    source = write_common_voice(tmp_path / "cv", [make_common_voice_row(0)])
    (tmp_path / "cv" / "clips").rename(tmp_path / "elsewhere")
    (tmp_path / "cv" / "clips").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leaves the folder cv"):
        read_speech(tmp_path, source)


@pytest.mark.parametrize(
    ("header", "filters", "missing"),
    [
        ("client_id\tpath\ttext", {}, "sentence"),
        ("", {}, "path"),
        ("path\tsentence", {"fewest_up_votes": 2}, "up_votes"),
        ("path\tsentence", {"accents": ["Andalucía"]}, "accents"),
    ],
)
def test_a_tsv_without_a_needed_column_is_refused(
    tmp_path: Path, header: str, filters: dict[str, Any], missing: str
) -> None:
    source = write_common_voice(tmp_path / "cv", [make_common_voice_row(0)], **filters)
    (tmp_path / "cv" / "validated.tsv").write_text(header + "\n")
    with pytest.raises(InputError, match=f"lacks the column {missing}"):
        read_speech(tmp_path, source)


def test_a_hugging_face_dataset_on_disk_is_read_with_any_audio_format(tmp_path: Path) -> None:
    rows = [
        make_dataset_row(0, "FLAC"),
        make_dataset_row(1, "WAV"),
        make_dataset_row(2, "OGG"),
        make_dataset_row(3, "MP3"),
    ]
    found = read_speech(tmp_path, write_hugging_face(tmp_path / "hf", rows))
    assert list_sentences(found) == [f"Frase {number}." for number in range(4)]
    assert all(each.duration_s == pytest.approx(1.0, abs=0.06) for each in found.utterances)
    assert len({each.speaker for each in found.utterances}) == 2


def test_a_dataset_made_from_audio_files_is_read(tmp_path: Path) -> None:
    from datasets import Audio, Dataset

    for number in range(2):
        write_wav(tmp_path / f"{number}.wav", make_noise(seed=number))
    columns = {"audio": [str(tmp_path / f"{number}.wav") for number in range(2)], "text": ["Uno.", "Dos."]}
    Dataset.from_dict(columns).cast_column("audio", Audio(sampling_rate=16_000)).save_to_disk(str(tmp_path / "hf"))
    source = SpeechSource.model_validate({"path": tmp_path / "hf", "kind": "hf", **CC0})
    found = read_speech(tmp_path, source)
    assert list_sentences(found) == ["Uno.", "Dos."]
    assert np.array_equal(found.utterances[1].audio * 32768, make_noise(seed=1).astype(np.float32))


def test_hostile_rows_of_a_dataset_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(encode_tone(9, "WAV"))
    rows = [
        make_dataset_row(0),
        make_dataset_row(1, audio={"bytes": None, "path": str(tmp_path / "secret.wav")}),
        make_dataset_row(2, audio={"bytes": None, "path": "../secret.wav"}),
        make_dataset_row(3, audio={"bytes": b"no sound", "path": None}),
        make_dataset_row(4, audio={"bytes": None, "path": None}),
        make_dataset_row(5, sentence=None),
        make_dataset_row(6, audio={"bytes": None, "path": "inside.wav"}),
    ]
    source = write_hugging_face(tmp_path / "hf", rows)
    (tmp_path / "hf" / "inside.wav").write_bytes(encode_tone(6, "WAV"))
    found = read_speech(tmp_path, source)
    assert list_sentences(found) == ["Frase 0.", "Frase 6."]
    reasons = {each.file: each.reason for each in found.skipped_inputs}
    for row, reason in {
        "row 2": "leaves",
        "row 3": "leaves",
        "row 4": "no audio of a known kind",
        "row 5": "has no audio",
        "row 6": "has NoneType as its text",
    }.items():
        assert reason in reasons.pop(row)
    assert reasons == {}


def test_a_folder_without_a_dataset_or_with_files_outside_is_refused(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    source = write_hugging_face(tmp_path / "hf", [make_dataset_row(0)])
    state = json.loads((tmp_path / "hf" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
    write_hugging_face(tmp_path / "other", [make_dataset_row(1)])
    (tmp_path / "other" / "data-00000-of-00001.arrow").touch()
    (tmp_path / "hf" / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="leaves the folder hf"):
        read_speech(tmp_path, source)
    for content in ("[]", "{", '{"_data_files": 3}', '{"_data_files": [{"filename": 3}]}'):
        (tmp_path / "hf" / "state.json").write_text(content)
        with pytest.raises(InputError, match="not a dataset written by save_to_disk"):
            read_speech(tmp_path, source)
    DatasetDict({"train": Dataset.from_dict({"a": [1]})}).save_to_disk(str(tmp_path / "dict"))
    split = SpeechSource.model_validate({"path": tmp_path / "dict", "kind": "hf", **CC0})
    with pytest.raises(InputError, match=r"several splits \(train\)"):
        read_speech(tmp_path, split)
    with pytest.raises(InputError, match="lacks the column sentence"):
        read_speech(tmp_path, split.model_copy(update={"path": tmp_path / "dict" / "train"}))


@pytest.mark.parametrize("kind", ["common_voice", "hf"])
@pytest.mark.parametrize("missing", ["licence", "origin"])
def test_public_speech_needs_licence_and_origin(tmp_path: Path, kind: str, missing: str) -> None:
    with pytest.raises(ValidationError, match=f"{missing} is missing"):
        SpeechSource.model_validate({"path": tmp_path, "kind": kind, **CC0, missing: " "})
