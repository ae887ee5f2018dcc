"""Who enters a comparison, from the short text that a person types.

`v2`, `base`, a folder that an engine can read, or a hosted service; after `@` another engine, after a comma options:
`v2@faster-whisper-batched,beam_size=1`, `v2,quantisation=float32`, `deepgram,model=nova-3`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from habla_ml.errors import EvaluationError, ExportError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.records import ModelRole
from habla_ml.export.exporter import Exporter
from habla_ml.export.publish import SourceCheckpoint, checkout_artefact, find_version_checkpoint, publish_export
from habla_ml.export.registry import find_exporter
from habla_ml.lake import Lake, catalogue, compute_digest, compute_sha256
from habla_ml.model_version import is_version
from habla_ml.settings import Settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.recipe import load_recipe
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.options import DecodingOptions, EngineOptions, build_served_options
from habla_ml.transcription.registry import HOSTED_SERVICES

Progress = Callable[[str], None]

BASE = "base"


@dataclass(frozen=True)
class ModelSpec:
    """What was asked for."""

    text: str
    """As typed: the name in tables."""
    model: str
    """A version, `base`, a folder, or empty for a service."""
    decoding: EngineOptions
    quantisation: str | None
    """Of the conversion; None is that of the settings."""


def parse_model_spec(text: str, settings: Settings) -> ModelSpec:
    """Understand one spec.

    Raises:
        EvaluationError: An unknown engine, option or quantisation; the message lists the known ones.
    """
    head, *pairs = [part.strip() for part in text.split(",")]
    model, _, engine = (part.strip() for part in head.partition("@"))
    given = dict(_parse_option(each, text) for each in pairs)
    if model in HOSTED_SERVICES:
        return ModelSpec(text, "", _parse_options({**given, "engine": model}, text), None)
    quantisation = given.pop("quantisation", None)
    if not model:
        raise EvaluationError(f"{text!r} names no model; write a version like v2, base, a folder or a service")
    as_served = build_served_options(settings.evaluation).model_dump(mode="json")
    chosen = engine or as_served["engine"]
    options = _parse_options({**as_served, **given, "engine": chosen}, text)
    if quantisation is not None:
        _check_quantisation(text, options, quantisation, settings)
    return ModelSpec(text, model, options, quantisation)


def prepare_model(
    spec: ModelSpec, role: ModelRole, lake: Lake, settings: Settings, progress: Progress
) -> EvaluatedModel:
    """The spec with its files laid down; converts a checkpoint where its engine wants another form of it.

    Raises:
        EvaluationError: There is no such version or folder.
        ExportError: It cannot be converted.
    """
    if not spec.model:
        # A service changes its models without a word, so what it said is good for a month.
        month = f"{datetime.now(UTC):%Y-%m}"
        named = compute_digest({"service": spec.decoding.model_dump(mode="json"), "month": month})
        return EvaluatedModel(spec.text, role, named, None, decoding=spec.decoding)
    if not is_version(spec.model) and spec.model != BASE:
        folder = Path(spec.model).expanduser()
        if not folder.is_dir():
            raise EvaluationError(
                f"{spec.model} is no model version, no service and no folder; write v2, base or the path of a model"
            )
        return EvaluatedModel(spec.text, role, _digest_folder(folder), folder, decoding=spec.decoding)
    source = _find_checkpoint(spec.model, lake, settings)
    exporter = _find_engine_exporter(spec.decoding)
    if exporter is None:
        return EvaluatedModel(spec.text, role, source.identity, source.fetch(), decoding=spec.decoding)
    options = exporter.build_options(settings.export, spec.quantisation)
    name = catalogue.COMPARED_EXPORT.name(source.identity[:32], options.quantisation, exporter.name)
    export = publish_export(lake, name, exporter, source, options, settings.work_folder, progress)
    folder = checkout_artefact(lake, export.artefact, settings.work_folder)
    return EvaluatedModel(spec.text, role, export.artefact, folder, decoding=spec.decoding)


def _find_engine_exporter(options: EngineOptions) -> Exporter | None:
    """Return the exporter that makes the engine's input; None where it reads the checkpoint itself."""
    return find_exporter(load_engine_class(options.engine).model_format)


def _check_quantisation(text: str, options: EngineOptions, quantisation: str, settings: Settings) -> None:
    exporter = _find_engine_exporter(options)
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
        raise EvaluationError(f"{whole}: {text!r} is no option; write key=value, like beam_size=1")
    return key.strip(), yaml.safe_load(value)


def _parse_options(given: dict[str, Any], text: str) -> EngineOptions:
    adapter: TypeAdapter[EngineOptions] = TypeAdapter(EngineOptions)
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        faults = "; ".join(": ".join([*map(str, each["loc"][1:]), each["msg"]]) for each in error.errors())
        known = ", ".join(sorted({*DecodingOptions.model_fields, "quantisation"} - {"engine"}))
        raise EvaluationError(f"{text} cannot be understood ({faults}); options are {known}") from error


def _find_checkpoint(model: str, lake: Lake, settings: Settings) -> SourceCheckpoint:
    if model == BASE:
        base = resolve_base_model(load_recipe(settings.training.recipe))
        return SourceCheckpoint(base.digest, lambda: base.folder)
    return find_version_checkpoint(lake, model, settings.work_folder)


def _digest_folder(folder: Path) -> str:
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if not files:
        raise EvaluationError(f"{folder} holds no files; name the folder of a model")
    return compute_digest([[each.relative_to(folder).as_posix(), compute_sha256(each)] for each in files])
