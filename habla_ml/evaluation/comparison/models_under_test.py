"""Who is compared when a candidate wants to be released: the base it came from, the release it follows, itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.export.publish import checkout_artefact, publish_ctranslate2
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
    candidate = _read_ctranslate2_pointer(lake, version)
    if candidate is None:
        raise ReleaseError(
            f"model version {version} has no CTranslate2 model; materialise `ctranslate2_model` for it first"
        )
    recipe = load_recipe(write_recipe_file(lake, read_plan(lake, version), settings.work_folder))
    found = [prepare_base_model(lake, recipe, settings, progress)]
    previous = _find_previous_release(store, settings.release.channel, version)
    artefact = None if previous is None else _read_ctranslate2_pointer(lake, previous)
    if previous is not None and artefact is not None:
        tree = str(artefact["tree"])
        found.append(EvaluatedModel(previous, "previous", tree, _check_out_tree(lake, tree, settings)))
    tree, checkpoint = str(candidate["tree"]), str(candidate["checkpoint"])
    own = EvaluatedModel(
        version,
        "candidate",
        tree,
        _check_out_tree(lake, tree, settings),
        checkpoint=checkpoint,
        checkpoint_folder=_check_out_tree(lake, checkpoint, settings),
    )
    return [*found, own]


def prepare_base_model(lake: Lake, recipe: Recipe, settings: Settings, progress: Progress) -> EvaluatedModel:
    """The base model that a recipe names, converted as candidates are."""
    base = resolve_base_model(recipe)
    made = publish_ctranslate2(
        lake,
        catalogue.BASE_EXPORT.name(base.digest, "ctranslate2"),
        base.digest,
        base.folder,
        settings.export.ctranslate2_quantisation,
        settings.work_folder,
        progress,
    )
    return EvaluatedModel("base", "base", made.tree, _check_out_tree(lake, made.tree, settings))


def _find_previous_release(store: Store, channel: str, version: str) -> str | None:
    released = {each.model_version for each in read_channel(store, channel).releases}
    number = version_number(parent_version(version) or version)
    older = [each for each in released if version_number(each) < number]
    return max(older, key=version_number, default=None)


def _read_ctranslate2_pointer(lake: Lake, version: str) -> Mapping[str, Any] | None:
    pointer = lake.read_pointer(catalogue.EXPORT.name(version, "ctranslate2"))
    return None if pointer is None else pointer.value


def _check_out_tree(lake: Lake, tree: str, settings: Settings) -> Path:
    return checkout_artefact(lake, tree, settings.work_folder)
