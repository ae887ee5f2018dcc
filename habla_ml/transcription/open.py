"""Opens a transcriber of any kind, here or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from habla_ml.errors import EvaluationError
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.settings.hosted import HostedServiceSettings, HostedSettings
from habla_ml.transcription.engine import Transcriber
from habla_ml.transcription.hosted.spending import Spending
from habla_ml.transcription.hosted.transcriber import HostedTranscriber
from habla_ml.transcription.isolated import IsolatedTranscriber
from habla_ml.transcription.on_ray import RayTranscriber
from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml.transcription.registry import HOSTED_SERVICES


@dataclass(frozen=True)
class HostedAccess:
    """Permission to use services, and the lake that records what they cost."""

    settings: HostedSettings
    lake: Lake
    local: DecodingOptions = field(default_factory=DecodingOptions)
    """Options of the local engine that replaces a service that is down."""


def open_bulk_transcriber(
    options: DecodingOptions | HostedOptions,
    model_folder: Path | None,
    settings: Settings,
    hosted: HostedAccess | None = None,
) -> Transcriber:
    """Return the engine that the options name, for many clips and no times: where `evaluation.launch` says.

    A service is called from here in any case. For the other arguments and the errors see `open_transcriber`.
    """
    evaluation = settings.evaluation
    if evaluation.launch.where == "ray" and isinstance(options, DecodingOptions) and model_folder is not None:
        cluster = settings.training.launch.ray
        return RayTranscriber(
            model_folder, options, evaluation.device, evaluation.cpu_threads, evaluation.launch, cluster
        )
    return open_transcriber(options, model_folder, evaluation.device, evaluation.cpu_threads, hosted)


def open_transcriber(
    options: DecodingOptions | HostedOptions,
    model_folder: Path | None,
    device: str = "auto",
    cpu_threads: int = 0,
    hosted: HostedAccess | None = None,
) -> Transcriber:
    """Return the engine that the options name, on this machine; the caller closes it.

    A local engine starts with its first clip, and a service gets nothing before it.

    Args:
        options: Engine and decoding options.
        model_folder: A folder in the local engine's format; for a service, the model of its fallback, or None.
        device: `cpu`, `cuda` or `auto`.
        cpu_threads: Cores to use; 0 is all of them.
        hosted: None allows no service.

    Raises:
        EvaluationError: The engine does not support an option that is set. A service is not configured, its client is not
            installed, its key is not set, or its fallback is enabled and there is no local model.
    """
    if isinstance(options, DecodingOptions):
        if model_folder is None:
            raise EvaluationError(f"engine {options.engine} has no model; name a model folder in its format")
        return IsolatedTranscriber(model_folder, options, device, cpu_threads)
    settings: HostedServiceSettings | None = None if hosted is None else getattr(hosted.settings, options.engine)
    if hosted is None or settings is None:
        raise EvaluationError(
            f"the service {options.engine} is off, so no audio is sent to it; to use it, configure "
            f"evaluation.hosted.{options.engine} (see docs/hosted_engines.md)"
        )
    if settings.fallback and model_folder is None:
        raise EvaluationError(
            f"evaluation.hosted.{options.engine}.fallback is on, but there is no local model to fall back to; "
            f"name one in front of the service, such as v2@{options.engine}, or switch it off"
        )
    service = HOSTED_SERVICES[options.engine].load()(options, settings)
    fallback = None
    if settings.fallback and model_folder is not None:
        fallback = IsolatedTranscriber(model_folder, hosted.local, device, cpu_threads)
    spending = Spending(hosted.lake, options.engine, settings.monthly_cap_usd)
    return HostedTranscriber(options, settings, service, spending, fallback)
