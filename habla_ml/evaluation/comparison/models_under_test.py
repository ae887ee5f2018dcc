"""Who is compared when a candidate wants to be released: the base it came from, the release it follows, itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.records import ModelRole
from habla_ml.export.exporter import PublishedExport
from habla_ml.export.publish import SourceCheckpoint, checkout_artefact, publish_export, read_export
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.model_version import parent_version, version_number
from habla_ml.release.channel import read_channel
from habla_ml.settings import Settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.plan import read_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe

Progress = Callable[[str], None]


def prepare_evaluated_models(
    lake: Lake, store: Store, version: str, settings: Settings, progress: Progress
) -> list[EvaluatedModel]:
    """Base, previous release (where there is one) and `version`, each with its CTranslate2 folder laid down.

    The base is the one that the version's own recipe names, converted as the candidate is. The previous release is the
    newest on the channel that is older than `version`, so an old version scored again meets the same opponent, and
    a repeat with another seed the opponent of what it repeats.

    Raises:
        ReleaseError: `version` has no CTranslate2 model yet.
    """
    candidate = read_export(lake, version, SERVED)
    if candidate is None:
        raise ReleaseError(
            f"model version {version} has no {SERVED.title}; materialise `{SERVED.asset_name}` for it first"
        )
    recipe = load_recipe(write_recipe_file(lake, read_plan(lake, version), settings.work_folder))
    found = [prepare_base_model(lake, recipe, settings, progress)]
    previous = _find_previous_release(store, settings.release.channel, version)
    served = None if previous is None else read_export(lake, previous, SERVED)
    if previous is not None and served is not None:
        found.append(_open_export(previous, "previous", served, lake, settings))
    own = replace(
        _open_export(version, "candidate", candidate, lake, settings),
        checkpoint=candidate.checkpoint,
        checkpoint_folder=checkout_artefact(lake, candidate.checkpoint, settings.work_folder),
    )
    return [*found, own]


def prepare_base_model(lake: Lake, recipe: Recipe, settings: Settings, progress: Progress) -> EvaluatedModel:
    """The base model that a recipe names, converted as candidates are."""
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


def _open_export(
    name: str, role: ModelRole, export: PublishedExport, lake: Lake, settings: Settings
) -> EvaluatedModel:
    folder = checkout_artefact(lake, export.artefact, settings.work_folder)
    return EvaluatedModel(name, role, export.artefact, folder)


def _find_previous_release(store: Store, channel: str, version: str) -> str | None:
    released = {each.model_version for each in read_channel(store, channel).releases}
    number = version_number(parent_version(version) or version)
    older = [each for each in released if version_number(each) < number]
    return max(older, key=version_number, default=None)
