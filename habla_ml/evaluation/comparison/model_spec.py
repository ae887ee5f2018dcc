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

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.records import ModelRole
from habla_ml.export.ctranslate2 import QUANTISATIONS
from habla_ml.export.publish import checkout_artefact, get_checkpoint_tree, publish_ctranslate2
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
    if quantisation is not None and quantisation not in QUANTISATIONS:
        raise EvaluationError(f"{text}: quantisation {quantisation!r} is none of {', '.join(QUANTISATIONS)}")
    if not model:
        raise EvaluationError(f"{text!r} names no model; write a version like v2, base, a folder or a service")
    as_served = build_served_options(settings.evaluation).model_dump(mode="json")
    chosen = engine or as_served["engine"]
    options = _parse_options({**as_served, **given, "engine": chosen}, text)
    if quantisation is not None and not _reads_ctranslate2(options):
        raise EvaluationError(f"{text}: {chosen} reads the checkpoint itself and knows no quantisation")
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
    identity, checkpoint = _resolve_checkpoint(spec.model, lake, settings)
    if not _reads_ctranslate2(spec.decoding):
        return EvaluatedModel(spec.text, role, identity, checkpoint, decoding=spec.decoding)
    quantisation = spec.quantisation or settings.export.ctranslate2_quantisation
    made = publish_ctranslate2(
        lake,
        catalogue.COMPARED_EXPORT.name(identity[:32], quantisation, "ctranslate2"),
        identity,
        checkpoint,
        quantisation,
        settings.work_folder,
        progress,
    )
    folder = checkout_artefact(lake, made.tree, settings.work_folder)
    return EvaluatedModel(spec.text, role, made.tree, folder, decoding=spec.decoding)


def _reads_ctranslate2(options: EngineOptions) -> bool:
    return load_engine_class(options.engine).model_format == "ctranslate2"


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


def _resolve_checkpoint(model: str, lake: Lake, settings: Settings) -> tuple[str, Path]:
    if model == BASE:
        base = resolve_base_model(load_recipe(settings.training.recipe))
        return base.digest, base.folder
    tree = get_checkpoint_tree(lake, model)
    return tree, checkout_artefact(lake, tree, settings.work_folder)


def _digest_folder(folder: Path) -> str:
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if not files:
        raise EvaluationError(f"{folder} holds no files; name the folder of a model")
    return compute_digest([[each.relative_to(folder).as_posix(), compute_sha256(each)] for each in files])
