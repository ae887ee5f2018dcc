"""The models of an evaluation with their files: a candidate with its base and the previous release, or model specs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from habla_ml.errors import EvaluationError, ReleaseError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, Progress
from habla_ml.evaluation.comparison.model_spec import BASE, ModelSpec, find_engine_exporter
from habla_ml.evaluation.metrics.inputs import ModelRole
from habla_ml.export.exporter import PublishedExport
from habla_ml.export.publish import (
    SourceCheckpoint,
    checkout_artefact,
    find_version_checkpoint,
    open_export,
    publish_export,
    read_export,
)
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, catalogue, compute_digest, compute_sha256
from habla_ml.model_version import is_version
from habla_ml.names import escape_name
from habla_ml.settings import Settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.plan import read_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.transcription.options import HostedOptions
from habla_ml.transcription.serving_profiles import build_served_options


def prepare_evaluated_models(
    lake: Lake, release: str | None, version: str, settings: Settings, progress: Progress
) -> list[EvaluatedModel]:
    """Prepare the base, the release to beat where there is one, and `version`, each in the served format.

    The base is the one of the version's own recipe, converted as the candidate is.

    Args:
        lake: Holds plans and artefacts.
        release: The version that `version` would replace (`Channel.find_release_to_beat`); None before the first.
        version: The candidate.
        settings: Quantisation and work folder.
        progress: Receives lines of a conversion.

    Raises:
        ReleaseError: `version` or the release has no served model.
    """
    candidate = read_export(lake, version, SERVED)
    if candidate is None:
        raise ReleaseError(
            f"model version {version} has no {SERVED.title}; materialise `{SERVED.asset_name}` for it first"
        )
    recipe = load_recipe(write_recipe_file(lake, read_plan(lake, version), settings.work_folder))
    found = [prepare_base_model(lake, recipe, settings, progress)]
    if release is not None:
        served = read_export(lake, release, SERVED)
        if served is None:
            raise ReleaseError(
                f"{release} is current on the channel and has no {SERVED.title} in the lake to compare {version} with; "
                f"materialise `{SERVED.asset_name}` for {release}"
            )
        found.append(_open_export(release, "previous", served, lake, settings))
    own = replace(
        _open_export(version, "candidate", candidate, lake, settings),
        checkpoint=candidate.checkpoint,
        checkpoint_folder=checkout_artefact(lake, candidate.checkpoint, settings.work_folder),
    )
    return [*found, own]


def prepare_base_model(lake: Lake, recipe: Recipe, settings: Settings, progress: Progress) -> EvaluatedModel:
    """Prepare the base model of a recipe, converted as candidates are."""
    base = resolve_base_model(recipe)
    export = publish_export(
        lake,
        catalogue.BASE_EXPORT.name(base.digest, SERVED.name),
        SERVED,
        SourceCheckpoint(base.digest, lambda: base.folder),
        SERVED.build_options(settings.export),
        settings.work_folder,
        progress,
    )
    return _open_export("base", "base", export, lake, settings)


def prepare_model(
    spec: ModelSpec, role: ModelRole, lake: Lake, settings: Settings, progress: Progress
) -> EvaluatedModel:
    """Prepare the files of a spec; convert a checkpoint where the engine needs another format.

    Raises:
        EvaluationError: There is no such version or folder.
        ExportError: The checkpoint cannot be converted.
    """
    if isinstance(spec.decoding, HostedOptions):
        # A service may change its model without notice, so its hypotheses are cached for a month.
        month = f"{datetime.now(UTC):%Y-%m}"
        digest = compute_digest({"service": spec.decoding.model_dump(mode="json"), "month": month})
        folder = _prepare_replacement(spec.model, lake, settings, progress) if spec.model else None
        return EvaluatedModel(spec.text, role, digest, folder, decoding=spec.decoding)
    if not is_version(spec.model) and spec.model != BASE:
        folder = Path(spec.model).expanduser()
        if not folder.is_dir():
            raise EvaluationError(
                f"{spec.model} is not a model version, a service or a folder; write a version like v2, base, or the "
                "path of a model"
            )
        return EvaluatedModel(spec.text, role, _digest_folder(folder), folder, decoding=spec.decoding)
    source = _find_checkpoint(spec.model, lake, settings)
    exporter = find_engine_exporter(spec.decoding)
    if exporter is None:
        return EvaluatedModel(spec.text, role, source.identity, source.fetch(), decoding=spec.decoding)
    options = exporter.build_options(settings.export, spec.quantisation)
    name = catalogue.COMPARED_EXPORT.name(source.identity[:32], options.quantisation, exporter.name)
    export = publish_export(lake, name, exporter, source, options, settings.work_folder, progress)
    folder = open_export(lake, exporter, export, settings.work_folder)
    return EvaluatedModel(spec.text, role, export.artefact, folder, decoding=spec.decoding)


def _prepare_replacement(model: str, lake: Lake, settings: Settings, progress: Progress) -> Path | None:
    """Return the folder of the local model that replaces a service while it is down, in the served format."""
    served = ModelSpec(model, model, build_served_options(settings.evaluation), None)
    return prepare_model(served, "compared", lake, settings, progress).folder


def _open_export(name: str, role: ModelRole, export: PublishedExport, lake: Lake, settings: Settings) -> EvaluatedModel:
    folder = checkout_artefact(lake, export.artefact, settings.work_folder)
    return EvaluatedModel(name, role, export.artefact, folder)


def _find_checkpoint(model: str, lake: Lake, settings: Settings) -> SourceCheckpoint:
    if model == BASE:
        base = resolve_base_model(load_recipe(settings.training.recipe))
        return SourceCheckpoint(base.digest, lambda: base.folder)
    return find_version_checkpoint(lake, model, settings.work_folder)


def _digest_folder(folder: Path) -> str:
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if not files:
        raise EvaluationError(f"{folder} has no files; name the folder of a model")
    return compute_digest([[escape_name(each.relative_to(folder).as_posix()), compute_sha256(each)] for each in files])
