"""Files of several sentences through the real engine and the demo's base model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE, encode_flac, pcm_sha256, quantise
from habla_ml.corpus.snapshot import Utterance
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml.transcription.hypothesis_cache import read_usage
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.speech_clips import cut_at_pauses
from habla_ml.transcription.transcribe_files import (
    CACHE_FOLDER,
    TranscriptionModel,
    enable_word_times,
    transcribe_files,
)
from habla_ml_tests.testing.released_models import make_review_settings

ARTEFACT = "a" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_review_settings(tmp_path)


def test_long_audio_is_cut_at_its_pauses(lesson: NDArray[np.int16], sentences: list[Utterance]) -> None:
    clips = cut_at_pauses(lesson)
    assert len(clips) >= len(sentences)
    assert all(0.3 < each.duration_s <= 30 for each in clips)
    at_s = 0.0
    for sentence in sentences:
        inside = [each for each in clips if at_s - 0.3 <= each.start_s < at_s + sentence.duration_s]
        covered_s = sum(each.duration_s for each in inside)
        assert 0.7 * sentence.duration_s < covered_s < sentence.duration_s + 0.8
        at_s += sentence.duration_s + 1.1
    first = round(clips[0].start_s * SAMPLE_RATE)
    assert clips[0].audio_sha256 == pcm_sha256(lesson[first : first + len(clips[0].pcm)])


def test_audio_of_thirty_seconds_is_one_clip_and_long_silence_is_none(lesson: NDArray[np.int16]) -> None:
    (whole,) = cut_at_pauses(lesson[:480_000])
    assert (whole.start_s, whole.duration_s) == (0.0, 30.0)
    assert cut_at_pauses(np.zeros(480_001, np.int16)) == []


def test_speech_without_pauses_is_cut_after_thirty_seconds(sentences: list[Utterance]) -> None:
    speech = np.concatenate([quantise(each.audio) for each in sentences] * 2)
    clips = cut_at_pauses(speech)
    assert all(each.duration_s <= 30 for each in clips)
    assert sum(each.duration_s for each in clips) > 0.8 * len(speech) / SAMPLE_RATE


@pytest.mark.slow
def test_files_become_documents_and_a_bad_file_gives_an_error(
    lake: Lake,
    settings: Settings,
    base_artefact: Path,
    lesson: NDArray[np.int16],
    sentences: list[Utterance],
    tmp_path: Path,
) -> None:
    long, short, bad = tmp_path / "lesson.wav", tmp_path / "short.flac", tmp_path / "bad.wav"
    soundfile.write(long, lesson, SAMPLE_RATE)
    short.write_bytes(encode_flac(sentences[0].audio))
    bad.write_bytes(b"RIFF no audio")
    model = enable_word_times(TranscriptionModel("v1", ARTEFACT, base_artefact, DecodingOptions()))
    progress: list[float] = []
    files = [long, bad, short, tmp_path / "missing.wav"]
    found = list(transcribe_files(files, model, lake, settings, progress.append, "Ana"))
    assert [each.file for each in found] == files
    assert "WAV" in found[1].error
    assert "cannot be read: No such file" in found[3].error
    assert (progress[0], progress[-1], sorted(progress)) == (0.0, 4.0, progress)
    lesson_document, short_document = found[0].document, found[2].document
    assert lesson_document is not None
    assert short_document is not None
    spoken = {word.strip(".,¿?¡!").lower() for each in sentences for word in each.sentence.split()}
    recognised = [word.strip(".,¿?¡!").lower() for word in lesson_document.text.split()]
    assert sum(word in spoken for word in recognised) > 0.8 * len(recognised) > 40
    words = [word for each in lesson_document.segments for line in each.lines for word in line.words]
    assert [word.text for word in words] == lesson_document.text.split()
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)
    assert lesson_document.end_s == pytest.approx(len(lesson) / SAMPLE_RATE, abs=2.5)
    assert all(len(line.text) <= 42 for each in lesson_document.segments for line in each.lines)
    assert (short_document.segments[0].speaker, short_document.source) == ("Ana", "short.flac")

    folder = settings.work_folder / CACHE_FOLDER
    cache = Lake(DirectoryStore(folder / "store"), folder / "cache")
    decoded = read_usage(cache, ARTEFACT, model.options)
    assert decoded.audio_s > 30
    again = list(transcribe_files(files, model, lake, settings, progress.append, "Ana"))
    assert again == found
    assert read_usage(cache, ARTEFACT, model.options) == decoded, "the second run decodes nothing"
    assert list(lake.list_pointers("hypotheses/")) == [], "the lake has no texts of unknown speakers"


def test_a_file_longer_than_the_setting_allows_is_refused(
    lake: Lake, settings: Settings, base_artefact: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(32_001, np.int16), SAMPLE_RATE)
    short = settings.model_copy(
        update={"transcription": settings.transcription.model_copy(update={"longest_file_s": 2.0})}
    )
    model = TranscriptionModel("v1", ARTEFACT, base_artefact, DecodingOptions())
    (found,) = transcribe_files([long], model, lake, short, lambda _: None)
    assert "more than the 2 s allowed" in found.error


@pytest.mark.parametrize(("engine", "has_words"), [("transformers", True), ("whisper.cpp", False)])
def test_word_times_are_enabled_where_the_engine_supports_them(engine: str, has_words: bool) -> None:
    model = enable_word_times(TranscriptionModel("v1", ARTEFACT, None, DecodingOptions(engine=engine)))
    assert isinstance(model.options, DecodingOptions)
    assert model.options.word_times is has_words
