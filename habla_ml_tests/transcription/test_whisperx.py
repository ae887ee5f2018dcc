"""WhisperX itself, where `habla-ml install-whisperx` was run; what is said where it was not."""

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
from habla_ml.transcription.whisperx import get_whisperx_environment
from habla_ml.virtual_environments import is_installed

OPTIONS = DecodingOptions(engine="whisperx", clip_timeout_s=120)
installed = pytest.mark.skipif(
    not is_installed(get_whisperx_environment()), reason="WhisperX is not installed: habla-ml install-whisperx"
)


def test_where_it_is_not_installed_the_command_is_named(
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
def test_it_hears_what_faster_whisper_hears_and_nothing_in_silence(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    quiet = replace(sentences[0], audio_sha256="0" * 64, duration_s=1.0, audio=np.zeros(16_000, np.float32))
    served = FasterWhisper(base_artefact, DecodingOptions(), "cpu", 1).transcribe
    expected = [served([each])[0].text for each in sentences]
    with closing(open_transcriber(OPTIONS, base_artefact, "cpu", 2)) as transcriber:
        found = transcriber.transcribe([*sentences, quiet])
        assert transcriber.usage.peak_memory_bytes is not None
    # It cuts what it takes for silence away, so a word that was a near tie may turn out another.
    words = [word for each in expected for word in each.split()]
    same = sum(
        word in each.text.split() for each, text in zip(found, expected, strict=False) for word in text.split()
    )
    assert same > 0.6 * len(words)
    assert all(each.failure is None and each.avg_logprob is not None for each in found[:-1])
    assert (found[-1].text, found[-1].failure, found[-1].avg_logprob) == ("", None, None)


@installed
@pytest.mark.slow
def test_what_it_cannot_run_is_named(base_artefact: Path, sentences: list[Utterance], tmp_path: Path) -> None:
    for folder, options, message in (
        (base_artefact, {"word_times": True}, r"alignment/es holds none"),
        (tmp_path, {}, r"lacks model\.bin"),
    ):
        with (
            closing(open_transcriber(OPTIONS.model_copy(update=options), folder, "cpu", 2)) as transcriber,
            pytest.raises(EvaluationError, match=message),
        ):
            transcriber.transcribe(sentences[:1])
    with pytest.raises(EvaluationError, match="does not support the option temperature"):
        open_transcriber(OPTIONS.model_copy(update={"temperature": 0.4}), base_artefact)
