"""WhisperX, where `habla-ml install-whisperx` was run, and the error where it was not."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml.virtual_environments import is_installed, sibling_environment

OPTIONS = DecodingOptions(engine="whisperx", clip_timeout_s=120)
installed = pytest.mark.skipif(
    not is_installed(sibling_environment("whisperx")), reason="WhisperX is not installed: habla-ml install-whisperx"
)


def test_without_an_installation_the_error_names_the_command(
    tmp_path: Path, sentences: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with (
        closing(open_transcriber(OPTIONS, tmp_path)) as transcriber,
        pytest.raises(EvaluationError, match=r"habla-ml install-whisperx"),
    ):
        transcriber.transcribe(sentences[:1])


@installed
@pytest.mark.slow
def test_texts_resemble_those_of_faster_whisper_and_silence_is_empty(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    quiet = replace(sentences[0], audio_sha256="0" * 64, duration_s=1.0, audio=np.zeros(16_000, np.float32))
    served = FasterWhisper(base_artefact, DecodingOptions(), "cpu", 1).transcribe
    expected = [served([each])[0].text for each in sentences]
    with closing(open_transcriber(OPTIONS, base_artefact, "cpu", 2)) as transcriber:
        found = transcriber.transcribe([*sentences, quiet])
        assert transcriber.usage.peak_memory_bytes is not None
    # It removes silence, which can change single words.
    words = [word for each in expected for word in each.split()]
    same = sum(word in each.text.split() for each, text in zip(found, expected, strict=False) for word in text.split())
    assert same > 0.6 * len(words)
    assert all(each.failure is None and each.avg_logprob is not None for each in found[:-1])
    assert (found[-1].text, found[-1].failure, found[-1].avg_logprob) == ("", None, None)


@installed
@pytest.mark.slow
def test_errors_name_what_is_missing_or_unsupported(
    base_artefact: Path, sentences: list[Utterance], tmp_path: Path
) -> None:
    timed = OPTIONS.model_copy(update={"word_times": True})
    for folder, options, message in (
        (base_artefact, timed, "alignment/es contains none"),
        (tmp_path, OPTIONS, "lacks model"),
    ):
        with (
            closing(open_transcriber(options, folder, "cpu", 2)) as engine,
            pytest.raises(EvaluationError, match=message),
        ):
            engine.transcribe(sentences[:1])
    with pytest.raises(EvaluationError, match="does not support the option temperature"):
        open_transcriber(OPTIONS.model_copy(update={"temperature": 0.4}), base_artefact)
