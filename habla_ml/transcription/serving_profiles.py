"""Serving profiles: the ways in which programs that use our models call them. A new one is one row in `SERVING_PROFILES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from habla_ml.errors import EvaluationError
from habla_ml.transcription.options import DecodingOptions, select_supported

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

_FALLBACK_TEMPERATURES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)


def _serve_like_habla(settings: EvaluationSettings) -> DecodingOptions:
    """WhisperX: speech detection, no timestamps, a beam of 5, no threshold, no second attempt."""
    wanted = {
        "beam_size": settings.beam_size,
        "batch_size": settings.batch_size,
        "language": settings.language,
        "clip_timeout_s": settings.clip_timeout_s,
        "vad": True,
        "no_speech_threshold": None,
        "log_prob_threshold": None,
    }
    return DecodingOptions(**select_supported(settings.engine, wanted))


def _serve_like_phone(settings: EvaluationSettings) -> DecodingOptions:
    """WhisperKit's `DecodingOptions()`. It has a threshold of silence, but never computes the probability of silence."""
    return DecodingOptions(
        engine="whisperkit-rules",
        beam_size=1,
        language=settings.language,
        clip_timeout_s=settings.clip_timeout_s,
        timestamps=True,
        fallback_temperatures=_FALLBACK_TEMPERATURES,
        no_speech_threshold=None,
        log_prob_threshold=-1.0,
        compression_ratio_threshold=2.4,
        first_token_log_prob_threshold=-1.5,
    )


def _serve_like_faster_whisper(settings: EvaluationSettings) -> DecodingOptions:
    """`WhisperModel.transcribe(audio, language=…)`."""
    return DecodingOptions(
        engine="faster-whisper-sequential",
        beam_size=5,
        best_of=5,
        language=settings.language,
        clip_timeout_s=settings.clip_timeout_s,
        timestamps=True,
        fallback_temperatures=_FALLBACK_TEMPERATURES,
        no_speech_threshold=0.6,
        log_prob_threshold=-1.0,
        compression_ratio_threshold=2.4,
    )


SERVING_PROFILES: Final[Mapping[str, Callable[[EvaluationSettings], DecodingOptions]]] = {
    "habla": _serve_like_habla,
    "phone": _serve_like_phone,
    "faster-whisper default": _serve_like_faster_whisper,
}


def build_profile_options(name: str, settings: EvaluationSettings) -> DecodingOptions:
    """Return the decoding options of a serving profile.

    Raises:
        EvaluationError: There is no such profile.
    """
    if name not in SERVING_PROFILES:
        raise EvaluationError(
            f"evaluation.serving_profile is {name!r}, which does not exist; choose one of {', '.join(SERVING_PROFILES)}"
        )
    return SERVING_PROFILES[name](settings)


def build_served_options(settings: EvaluationSettings) -> DecodingOptions:
    """Return the options of the profile that decides: `evaluation.serving_profile`."""
    return build_profile_options(settings.serving_profile, settings)
