"""whisper.cpp and Transformers with the same weights."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.export.ggml import GGML
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.transformers_engine import Transformers
from habla_ml.transcription.whisper_cpp import WhisperCpp
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint

GREEDY = DecodingOptions(engine="whisper.cpp", beam_size=1)


@pytest.fixture(scope="module")
def ggml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(GGML, BASE_MODEL, tmp_path_factory.mktemp("ggml")).path


@pytest.fixture(scope="module")
def expected(sentences: list[Utterance]) -> list[Hypothesis]:
    """What Transformers recognises with the same weights, without a beam."""
    reference = Transformers(BASE_MODEL, DecodingOptions(engine="transformers", beam_size=1), "cpu", 1)
    return reference.transcribe(sentences)


def transcribe_with_whisper_cpp(folder: Path, clips: list[Utterance], **options: Any) -> list[Hypothesis]:
    engine = WhisperCpp(folder, GREEDY.model_copy(update=options), "cpu", 1)
    return [engine.transcribe([each])[0] for each in clips]


@pytest.mark.slow
def test_greedy_texts_equal_those_of_transformers_with_the_same_weights(
    ggml: Path, sentences: list[Utterance], expected: list[Hypothesis]
) -> None:
    found = transcribe_with_whisper_cpp(ggml, sentences)
    # whisper.cpp computes in float16 with its own spectrogram, so only texts with a high probability must be equal.
    sure = [(a, b) for a, b in zip(found, expected, strict=True) if (b.avg_logprob or -1) > -0.05]
    assert len({each.text for each, _ in sure}) > 6
    for mine, theirs in sure:
        assert mine.text == theirs.text
        assert mine.avg_logprob == pytest.approx(theirs.avg_logprob, abs=0.05)
        assert mine.compression_ratio == theirs.compression_ratio


@pytest.mark.slow
@pytest.mark.parametrize(("quantisation", "file_type", "size_mb"), [("q8_0", 2007, 12.8), ("q5_1", 2009, 9.6)])
def test_quantised_weights_recognise_the_same_sentences(
    quantisation: str,
    file_type: int,
    size_mb: float,
    sentences: list[Utterance],
    expected: list[Hypothesis],
    tmp_path: Path,
) -> None:
    folder = export_checkpoint(GGML, BASE_MODEL, tmp_path, quantisation).path
    file = folder / "ggml-model.bin"
    assert struct.unpack_from("<i", file.read_bytes(), 44) == (file_type,)
    assert file.stat().st_size / 1e6 == pytest.approx(size_mb, abs=0.05)
    sure = [(clip, each) for clip, each in zip(sentences, expected, strict=True) if (each.avg_logprob or -1) > -0.05][
        :3
    ]
    assert len({each.text for _, each in sure}) > 1
    found = transcribe_with_whisper_cpp(folder, [clip for clip, _ in sure])
    assert [each.text for each in found] == [each.text for _, each in sure]


@pytest.mark.slow
def test_options_change_the_texts(ggml: Path, sentences: list[Utterance]) -> None:
    def transcribe(**options: Any) -> list[str]:
        return [each.text for each in transcribe_with_whisper_cpp(ggml, sentences[:2], **options)]

    plain = transcribe()
    assert transcribe(beam_size=3) == plain
    assert transcribe(no_speech_threshold=None) == plain
    assert transcribe(compression_ratio_threshold=0.1) == ["", ""]
    assert transcribe(temperature=3.0, max_new_tokens=10) != plain
    cut = transcribe(max_new_tokens=2)
    assert all(
        text and whole.startswith(text) and len(text) < len(whole) / 2 for text, whole in zip(cut, plain, strict=True)
    )
    silent = transcribe_with_whisper_cpp(ggml, sentences[:2], no_speech_threshold=-1.0, log_prob_threshold=None)
    assert [(each.text, each.avg_logprob) for each in silent] == [("", None)] * 2


@pytest.mark.slow
def test_it_works_in_its_own_process(ggml: Path, sentences: list[Utterance]) -> None:
    with closing(open_transcriber(GREEDY, ggml, "cpu", 1)) as transcriber:
        found = transcriber.transcribe(sentences[:2])
    assert [each.text for each in found] == [each.text for each in transcribe_with_whisper_cpp(ggml, sentences[:2])]


def test_errors_name_what_is_missing_or_unsupported(ggml: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no ggml-model\.bin"):
        WhisperCpp(tmp_path, GREEDY, "cpu", 1)
    with pytest.raises(EvaluationError, match="tlh"):
        WhisperCpp(ggml, GREEDY.model_copy(update={"language": "tlh"}), "cpu", 1)
    with pytest.raises(EvaluationError, match=r"this build of whisper\.cpp has no CUDA"):
        WhisperCpp(ggml, GREEDY, "cuda", 1)
    with pytest.raises(EvaluationError, match="does not support the option word_times"):
        open_transcriber(GREEDY.model_copy(update={"word_times": True}), ggml)
    (tmp_path / "ggml-model.bin").write_bytes(b"not a model")
    with pytest.raises(EvaluationError, match=r"cannot load.*bad magic"):
        WhisperCpp(tmp_path, GREEDY, "cpu", 1)
