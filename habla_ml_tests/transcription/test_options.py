from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from habla_ml.errors import EvaluationError
from habla_ml.lake import compute_digest
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions, EngineOptions
from habla_ml.transcription.registry import ENGINES, RegisteredClass


def test_the_digest_depends_on_everything_that_can_change_a_text() -> None:
    digests = {
        DecodingOptions().digest(),
        DecodingOptions(beam_size=1).digest(),
        DecodingOptions(language="en").digest(),
        DecodingOptions(no_speech_threshold=None).digest(),
    }
    assert len(digests) == 4
    assert DecodingOptions(beam_size=5).digest() == DecodingOptions().digest()


def test_other_rules_of_an_engine_change_the_digest_and_the_first_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = DecodingOptions().digest()
    assert before == compute_digest(DecodingOptions().model_dump(mode="json"))
    row = ENGINES["faster-whisper"]
    monkeypatch.setitem(ENGINES, "faster-whisper", replace(row, rules=row.rules + 1))
    assert DecodingOptions().digest() != before


def test_an_unsupported_option_is_refused_before_anything_starts(tmp_path):
    options = DecodingOptions(engine="faster-whisper-batched", no_speech_threshold=0.3)
    with pytest.raises(
        EvaluationError, match=r"faster-whisper-batched does not support the option no_speech_threshold"
    ):
        open_transcriber(options, tmp_path)
    open_transcriber(DecodingOptions(engine="faster-whisper-batched", beam_size=2, clip_timeout_s=1), tmp_path)


def test_a_row_of_the_registry_is_all_that_a_new_engine_needs(tmp_path, monkeypatch):
    (tmp_path / "new_engine.py").write_text(
        "class NewEngine:\n    model_format = 'ctranslate2'\n    supported_options = frozenset({'beam_size'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ENGINES, "new", RegisteredClass("new_engine", "NewEngine"))
    options = TypeAdapter(EngineOptions).validate_python({"engine": "new", "beam_size": 2})
    assert options == DecodingOptions(engine="new", beam_size=2)
    assert open_transcriber(options, tmp_path).options == options
    with pytest.raises(EvaluationError, match="It supports beam_size"):
        open_transcriber(DecodingOptions(engine="new", temperature=1.0), tmp_path)


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"'nonsense' does not exist; choose one of coreml, faster-whisper, "):
        TypeAdapter(EngineOptions).validate_python({"engine": "nonsense"})


def test_every_engine_has_a_class_with_known_options():
    for name in ENGINES:
        assert set(load_engine_class(name).supported_options) <= set(DecodingOptions.model_fields)
