"""Where a transcriber over a service comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from habla_ml.errors import EvaluationError
from habla_ml.lake import Lake
from habla_ml.settings.hosted import (
    AwsSettings,
    AzureSettings,
    DeepgramSettings,
    GoogleSettings,
    HostedServiceSettings,
    HostedSettings,
)
from habla_ml.transcription.engine import Transcriber
from habla_ml.transcription.hosted.aws import Aws
from habla_ml.transcription.hosted.azure import Azure
from habla_ml.transcription.hosted.deepgram import Deepgram
from habla_ml.transcription.hosted.google import Google
from habla_ml.transcription.hosted.service import SpeechService
from habla_ml.transcription.hosted.spending import Spending
from habla_ml.transcription.hosted.transcriber import HostedTranscriber
from habla_ml.transcription.options import DecodingOptions, HostedOptions


@dataclass(frozen=True)
class HostedAccess:
    """What it takes to ask a service: leave of the settings, and the lake that keeps its account."""

    settings: HostedSettings
    lake: Lake
    local: DecodingOptions = field(default_factory=DecodingOptions)
    """How the local engine decodes what a service that is down did not hear."""


def open_hosted_transcriber(
    options: HostedOptions, access: HostedAccess | None, fallback: Callable[[], Transcriber] | None = None
) -> HostedTranscriber:
    """A transcriber over the service that the options name; nothing is sent yet.

    Args:
        options: Which service, model and language.
        access: Without it, no service may be asked.
        fallback: Opens the local engine, where the settings want one for a service that is down.

    Raises:
        EvaluationError: The service is not configured, its client not installed, its key not set, or it shall fall
            back to a local engine and there is none.
    """
    settings = None if access is None else getattr(access.settings, options.engine)
    if access is None or settings is None:
        raise EvaluationError(
            f"the service {options.engine} is off: no audio leaves this house until evaluation.hosted.{options.engine} "
            "is configured (see docs/hosted_engines.md)"
        )
    if settings.fallback and fallback is None:
        raise EvaluationError(
            f"evaluation.hosted.{options.engine}.fallback is on and there is no local model here to fall back to; "
            "give one or switch it off"
        )
    service = _open_service(options, settings)
    spending = Spending(access.lake, options.engine, settings.monthly_cap_usd)
    local = fallback() if fallback is not None and settings.fallback else None
    return HostedTranscriber(options, settings, service, spending, local)


def _open_service(options: HostedOptions, settings: HostedServiceSettings) -> SpeechService:
    match settings:
        case GoogleSettings():
            return Google(options, settings)
        case AwsSettings():
            return Aws(options, settings)
        case AzureSettings():
            return Azure(options, settings)
        case DeepgramSettings():
            return Deepgram(options, settings)
    raise EvaluationError(f"there is no client for {options.engine}")
