"""Opens a transcriber that uses a hosted service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from habla_ml.errors import EvaluationError
from habla_ml.lake import Lake
from habla_ml.settings.hosted import HostedServiceSettings, HostedSettings
from habla_ml.transcription.engine import Transcriber
from habla_ml.transcription.hosted.service import SpeechService
from habla_ml.transcription.hosted.spending import Spending
from habla_ml.transcription.hosted.transcriber import HostedTranscriber
from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml.transcription.registry import HOSTED_SERVICES


@dataclass(frozen=True)
class HostedAccess:
    """Permission to use services, and the lake that records what they cost."""

    settings: HostedSettings
    lake: Lake
    local: DecodingOptions = field(default_factory=DecodingOptions)
    """Options of the local engine that replaces a service that is down."""


def open_hosted_transcriber(
    options: HostedOptions, access: HostedAccess | None, fallback: Callable[[], Transcriber] | None = None
) -> HostedTranscriber:
    """Return a transcriber over the service that the options name; nothing is sent yet.

    Args:
        options: Service, model and language.
        access: None allows no service.
        fallback: Opens the local engine, where the settings enable one for a service that is down.

    Raises:
        EvaluationError: The service is not configured, its client is not installed, its key is not set, or the
            fallback is enabled and there is no local engine.
    """
    settings: HostedServiceSettings | None = None
    if access is not None:
        settings = getattr(access.settings, options.engine)
    if access is None or settings is None:
        raise EvaluationError(
            f"the service {options.engine} is off, so no audio is sent to it; to use it, configure "
            f"evaluation.hosted.{options.engine} (see docs/hosted_engines.md)"
        )
    if settings.fallback and fallback is None:
        raise EvaluationError(
            f"evaluation.hosted.{options.engine}.fallback is on, but there is no local model to fall back to; "
            "name a model or switch it off"
        )
    service: SpeechService = HOSTED_SERVICES[options.engine].load()(options, settings)
    spending = Spending(access.lake, options.engine, settings.monthly_cap_usd)
    local = fallback() if fallback is not None and settings.fallback else None
    return HostedTranscriber(options, settings, service, spending, local)
