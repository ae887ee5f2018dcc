"""Who enters a comparison, from the short text that a person types.

`v2`, `base`, a folder that an engine can read, or a hosted service; after `@` another engine, after a comma options:
`v2@faster-whisper-batched,beam_size=1`, `v2,quantisation=float32`, `deepgram,model=nova-3`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison import Role
from habla_ml.evaluation.listening import Contender, served_options
from habla_ml.export.ct2 import QUANTISATIONS
from habla_ml.export.publish import checkout_artefact, checkpoint_of, publish_ctranslate2
from habla_ml.lake import Lake, catalogue, digest_of, sha256_of
from habla_ml.settings import Settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.recipe import load_recipe
from habla_ml.transcription.options import DecodingOptions, EngineOptions, HostedEngine, LocalEngine
from habla_ml.versions import is_version

Progress = Callable[[str], None]

BASE = "base"
_CONVERTED: tuple[LocalEngine, ...] = ("faster-whisper", "faster-whisper-batched", "whisperx")
"""Engines that read a CTranslate2 folder."""


@dataclass(frozen=True)
class Entrant:
    """What was asked for."""

    text: str
    """As typed: the name in tables."""
    model: str
    """A version, `base`, a folder, or empty for a service."""
    decoding: EngineOptions
    quantisation: str | None
    """Of the conversion; None is that of the settings."""


def read_entrant(text: str, settings: Settings) -> Entrant:
    """Understand one entrant.

    Raises:
        EvaluationError: An unknown engine, option or quantisation; the message lists the known ones.
    """
    head, *pairs = [part.strip() for part in text.split(",")]
    model, _, engine = (part.strip() for part in head.partition("@"))
    given = dict(_pair(each, text) for each in pairs)
    if model in get_args(HostedEngine):
        return Entrant(text, "", _options({**given, "engine": model}, text), None)
    quantisation = given.pop("quantisation", None)
    if quantisation is not None and quantisation not in QUANTISATIONS:
        raise EvaluationError(f"{text}: quantisation {quantisation!r} is none of {', '.join(QUANTISATIONS)}")
    if not model:
        raise EvaluationError(f"{text!r} names no model; write a version like v2, base, a folder or a service")
    as_served = served_options(settings.evaluation).model_dump(mode="json")
    chosen = engine or as_served["engine"]
    options = _options({**as_served, **given, "engine": chosen}, text)
    if quantisation is not None and chosen not in _CONVERTED:
        raise EvaluationError(f"{text}: {chosen} reads the checkpoint itself and knows no quantisation")
    return Entrant(text, model, options, quantisation)


def contender_of(entrant: Entrant, role: Role, lake: Lake, settings: Settings, progress: Progress) -> Contender:
    """The entrant with its files laid down; converts a checkpoint where its engine wants another form of it.

    Raises:
        EvaluationError: There is no such version or folder.
        ExportError: It cannot be converted.
    """
    if not entrant.model:
        # A service changes its models without a word, so what it said is good for a month.
        month = f"{datetime.now(UTC):%Y-%m}"
        named = digest_of({"service": entrant.decoding.model_dump(mode="json"), "month": month})
        return Contender(entrant.text, role, named, None, decoding=entrant.decoding)
    if not is_version(entrant.model) and entrant.model != BASE:
        folder = Path(entrant.model).expanduser()
        if not folder.is_dir():
            raise EvaluationError(
                f"{entrant.model} is no model version, no service and no folder; write v2, base or the path of a model"
            )
        return Contender(entrant.text, role, _digest_of_folder(folder), folder, decoding=entrant.decoding)
    identity, checkpoint = _checkpoint(entrant.model, lake, settings)
    if entrant.decoding.engine not in _CONVERTED:
        return Contender(entrant.text, role, identity, checkpoint, decoding=entrant.decoding)
    quantisation = entrant.quantisation or settings.export.ctranslate2_quantisation
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
    return Contender(entrant.text, role, made.tree, folder, decoding=entrant.decoding)


def _pair(text: str, whole: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise EvaluationError(f"{whole}: {text!r} is no option; write key=value, like beam_size=1")
    return key.strip(), yaml.safe_load(value)


def _options(given: dict[str, Any], text: str) -> EngineOptions:
    adapter: TypeAdapter[EngineOptions] = TypeAdapter(EngineOptions)
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        faults = "; ".join(": ".join([*map(str, each["loc"][1:]), each["msg"]]) for each in error.errors())
        known = ", ".join(sorted({*DecodingOptions.model_fields, "quantisation"} - {"engine"}))
        raise EvaluationError(f"{text} cannot be understood ({faults}); options are {known}") from error


def _checkpoint(model: str, lake: Lake, settings: Settings) -> tuple[str, Path]:
    if model == BASE:
        base = resolve_base_model(load_recipe(settings.training.recipe))
        return base.digest, base.folder
    tree = checkpoint_of(lake, model)
    return tree, checkout_artefact(lake, tree, settings.work_folder)


def _digest_of_folder(folder: Path) -> str:
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if not files:
        raise EvaluationError(f"{folder} holds no files; name the folder of a model")
    return digest_of([[each.relative_to(folder).as_posix(), sha256_of(each)] for each in files])
