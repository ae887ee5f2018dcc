import pytest

from habla_ml.errors import EvaluationError
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.serving_profiles import SERVING_PROFILES, build_profile_options, build_served_options


@pytest.mark.parametrize("engine", ["faster-whisper", "faster-whisper-batched", "whisperx"])
@pytest.mark.parametrize("name", SERVING_PROFILES)
def test_every_profile_has_options_that_its_engine_supports(name: str, engine: str) -> None:
    options = build_profile_options(name, EvaluationSettings.model_validate({"engine": engine, "language": "en"}))
    options.check_supported(load_engine_class(options.engine).supported_options)
    assert options.language == "en"
    assert options.engine == engine or name != "habla"


def test_habla_detects_speech_and_applies_no_threshold_as_whisperx_does() -> None:
    assert build_served_options(EvaluationSettings(beam_size=3)) == DecodingOptions(
        beam_size=3, vad=True, no_speech_threshold=None, log_prob_threshold=None
    )


def test_the_phone_has_the_defaults_of_whisperkit() -> None:
    options = build_served_options(EvaluationSettings(serving_profile="phone"))
    assert (options.timestamps, options.beam_size, options.temperature) == (True, 1, 0.0)
    assert options.fallback_temperatures == (0.2, 0.4, 0.6, 0.8, 1.0)
    thresholds = ("compression_ratio_threshold", "log_prob_threshold", "first_token_log_prob_threshold")
    assert [getattr(options, each) for each in thresholds] == [2.4, -1.0, -1.5]


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EvaluationError, match="'tablet', which does not exist; choose one of habla, phone, faster-"):
        build_served_options(EvaluationSettings(serving_profile="tablet"))
