"""Engines of three programs write what the served model writes with the same weights and options."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.coreml import CoreML
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.onnx import Onnx
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.serving_profiles import build_profile_options
from habla_ml.transcription.whisperkit_engine import WhisperKitRules
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.simulated_hypotheses import make_utterance
from habla_ml_tests.testing.torch_programs import TorchCoreML, TorchOnnx

PLAIN = DecodingOptions(engine="coreml", beam_size=1, no_speech_threshold=None, log_prob_threshold=None)


@pytest.mark.long
def test_the_phones_programs_write_the_greedy_text_of_the_served_model(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    found = TorchCoreML(BASE_MODEL, PLAIN, "cpu", 2).transcribe(sentences[:3])
    served = WhisperKitRules(base_artefact, PLAIN.model_copy(update={"engine": "whisperkit-rules"}), "cpu", 1)
    expected = served.transcribe(sentences[:3])
    assert [each.text for each in found] == [each.text for each in expected]
    assert all(each.text for each in found)
    assert [each.avg_logprob for each in found] == pytest.approx([each.avg_logprob for each in expected], abs=5e-3)


@pytest.mark.long
def test_the_phones_rules_make_of_both_the_same_text(base_artefact: Path, sentences: list[Utterance]) -> None:
    phone = build_profile_options("phone", EvaluationSettings())
    found = TorchCoreML(BASE_MODEL, phone.model_copy(update={"engine": "coreml"}), "cpu", 1).transcribe(sentences[:2])
    expected = WhisperKitRules(base_artefact, phone, "cpu", 1).transcribe(sentences[:2])
    assert [each.text for each in found] == [each.text for each in expected]
    logprobs = [[each.avg_logprob for each in side] for side in (found, expected)]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=0.05), "a forced timestamp was counted"


@pytest.mark.slow
def test_a_drawn_text_depends_on_the_clip_only(sentences: list[Utterance]) -> None:
    hot = PLAIN.model_copy(update={"temperature": 3.0})
    engine = TorchCoreML(BASE_MODEL, hot, "cpu", 1)
    forwards = [each.text for each in engine.transcribe(sentences[:2])]
    assert [each.text for each in engine.transcribe(sentences[1::-1])][::-1] == forwards
    assert forwards != [each.text for each in TorchCoreML(BASE_MODEL, PLAIN, "cpu", 1).transcribe(sentences[:2])]


@pytest.mark.long
def test_onnx_writes_the_served_text_and_silence_has_none(base_artefact: Path, sentences: list[Utterance]) -> None:
    options = DecodingOptions(beam_size=1, vad=True, max_new_tokens=60)
    silence = np.zeros(32_000, np.float32)
    quiet = make_utterance(
        "q", "s", "", duration_s=2.0, audio_sha256=hashlib.sha256(silence.tobytes()).hexdigest(), audio=silence
    )
    clips = [*sentences[:2], quiet]
    found = TorchOnnx(BASE_MODEL, options.model_copy(update={"engine": "onnx"}), "cpu", 1).transcribe(clips)
    expected = FasterWhisper(base_artefact, options, "cpu", 1).transcribe(clips)
    assert [each.text for each in found] == [each.text for each in expected]
    assert found[2].text == ""
    pairs = [(each.no_speech_prob, other.no_speech_prob) for each, other in zip(found, expected, strict=True)]
    assert all(a == pytest.approx(b, abs=0.02) for a, b in pairs if a is not None and b is not None)
    assert found[0].avg_logprob is not None
    assert math.isclose(found[0].avg_logprob, expected[0].avg_logprob or 0.0, abs_tol=0.02)


@pytest.mark.parametrize(
    ("engine", "change", "reason"),
    [
        (CoreML, {"beam_size": 5}, "beam_size is 5; set it to 1"),
        (CoreML, {}, "there is no MelSpectrogram.mlpackage.*on a Mac or a phone only"),
        (Onnx, {"engine": "onnx"}, "onnx cannot load .*MelSpectrogram.onnx.*export the model version again"),
    ],
)
def test_a_folder_or_an_option_that_cannot_be_used_is_refused(
    engine: type[CoreML | Onnx], change: dict[str, object], reason: str
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        engine(BASE_MODEL, PLAIN.model_copy(update=change), "cpu", 1)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"lacks config\.json, generation_config\.json, tokenizer\.json"):
        CoreML(tmp_path, PLAIN, "cpu", 1)
