"""The short text that names a model to compare.

`v2`, `base`, a folder that an engine can read, or a hosted service. `@` selects another engine, a comma adds options:
`v2@faster-whisper-batched,beam_size=1`, `v2,quantisation=float32`, `v2,profile=phone`, `deepgram,model=nova-3`. In
`v2@deepgram`, v2 decodes the clips of the service while it is down, if its `fallback` is on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from habla_ml.errors import EvaluationError, ExportError
from habla_ml.export.exporter import Exporter
from habla_ml.export.registry import find_exporter
from habla_ml.settings import Settings
from habla_ml.settings.yaml_loader import load_yaml
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.options import DecodingOptions, EngineOptions, select_supported
from habla_ml.transcription.registry import ENGINES, HOSTED_SERVICES
from habla_ml.transcription.serving_profiles import build_profile_options

BASE = "base"


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model spec."""

    text: str
    """As typed; the model's name in tables."""
    model: str
    """A version, `base` or a folder; for a service its local replacement, or empty."""
    decoding: EngineOptions
    quantisation: str | None
    """Of the conversion; None for that of the settings."""


def parse_model_spec(text: str, settings: Settings) -> ModelSpec:
    """Parse one spec.

    Raises:
        EvaluationError: An unknown engine, option or quantisation; the message lists the known ones.
    """
    head, *pairs = [part.strip() for part in text.split(",")]
    model, _, engine = (part.strip() for part in head.partition("@"))
    given = dict(_parse_option(each, text) for each in pairs)
    if model in HOSTED_SERVICES:
        return ModelSpec(text, "", _parse_options({**given, "engine": model}, text), None)
    if engine in HOSTED_SERVICES:
        return ModelSpec(text, model, _parse_options({**given, "engine": engine}, text), None)
    quantisation = given.pop("quantisation", None)
    if not model:
        raise EvaluationError(f"{text!r} names no model; write a version like v2, base, a folder or a service")
    profile = given.pop("profile", settings.evaluation.serving_profile)
    served = build_profile_options(profile, settings.evaluation)
    as_served = _adapt_to_engine(served, engine) if engine else served.model_dump()
    options = _parse_options({**as_served, **given}, text)
    if quantisation is not None:
        _check_quantisation(text, options, quantisation, settings)
    return ModelSpec(text, model, options, quantisation)


def _adapt_to_engine(served: DecodingOptions, engine: str) -> dict[str, Any]:
    """Return the served options that another engine applies; the parser refuses an unknown engine."""
    return select_supported(engine, served.model_dump()) if engine in ENGINES else {"engine": engine}


def find_engine_exporter(options: EngineOptions) -> Exporter | None:
    """Return the exporter that makes the engine's input; None where the engine reads the checkpoint itself."""
    return find_exporter(load_engine_class(options.engine).model_format)


def _check_quantisation(text: str, options: EngineOptions, quantisation: str, settings: Settings) -> None:
    exporter = find_engine_exporter(options)
    if exporter is None:
        raise EvaluationError(
            f"{text}: the engine {options.engine} reads the checkpoint itself; remove the quantisation"
        )
    try:
        exporter.build_options(settings.export, quantisation)
    except ExportError as error:
        raise EvaluationError(f"{text}: {error}") from error


def _parse_option(text: str, whole: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise EvaluationError(f"{whole}: {text!r} is not an option; write key=value, like beam_size=1")
    try:
        return key.strip(), load_yaml(value)
    except yaml.YAMLError:
        raise EvaluationError(f"{whole}: the value of {key.strip()} is not YAML; write it like beam_size=1") from None


def _parse_options(given: dict[str, Any], text: str) -> EngineOptions:
    adapter: TypeAdapter[EngineOptions] = TypeAdapter(EngineOptions)
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        faults = "; ".join(": ".join([*map(str, each["loc"][1:]), each["msg"]]) for each in error.errors())
        known = ", ".join(sorted({*DecodingOptions.model_fields, "quantisation", "profile"} - {"engine"}))
        raise EvaluationError(f"{text} is not a valid model spec ({faults}); options are {known}") from error
