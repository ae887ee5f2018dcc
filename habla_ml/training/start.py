"""A fine-tuned model of a hub as the start of a training: the previous version, also where the lake was lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from habla_ml.errors import InputError, TrainingError
from habla_ml.hub.repository import HubRepository, open_repository
from habla_ml.json_input import parse_json
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import version_number
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings
from habla_ml.training.base_model import COPIED_FILES, WhisperBaseModel, find_faults
from habla_ml.training.recipe import HubStart, Recipe
from habla_ml.training.record import StartRecord

RECORD_FILE: Final = "habla_release.json"
"""In a repository: what a commit contains and where it comes from."""
_SHAPE: Final = ("d_model", "encoder_layers", "decoder_layers", "num_mel_bins", "vocab_size")
"""Keys of `config.json` that say whether weights fit."""


def list_hub_versions(repository: HubRepository) -> dict[str, str]:
    """Return model version → commit of the repository's tags, the newest version last."""
    tags = repository.read_refs().tags
    found = [tag for tag in tags if tag[:1] == "v" and tag[1:].isdecimal()]
    return {tag: tags[tag] for tag in sorted(found, key=version_number)}


def choose_start(settings: Settings) -> HubStart | None:
    """Return the commit of the version in `training.continue_from`; None if it is not set or the hub has no version yet.

    Raises:
        TrainingError: The hub does not have this version.
        ServiceError: The hub cannot be reached.
    """
    wanted, name = settings.training.continue_from, settings.release.hub.repository
    if wanted is None or name is None:
        return None
    repository = open_repository(settings.release.hub, name)
    versions = list_hub_versions(repository)
    if wanted == "newest":
        return HubStart(repository=name, revision=list(versions.values())[-1]) if versions else None
    if wanted not in versions:
        known = ", ".join(versions) or "no version"
        raise TrainingError(
            f"training.continue_from is {wanted}, but {repository.url} has {known}; choose one of these"
        )
    return HubStart(repository=name, revision=versions[wanted])


def import_start(lake: Lake, recipe: Recipe, settings: Settings) -> StartRecord | None:
    """Store the model that `recipe` continues from in the lake, unless it is there; return it, or None without one.

    Raises:
        TrainingError: The commit has no complete Whisper model.
        ServiceError: The hub cannot be reached, or a file is damaged.
    """
    start = recipe.start
    if start is None:
        return None
    name = catalogue.HUB_START.name(start.digest)
    if (pointer := lake.read_pointer(name)) is not None:
        return StartRecord.model_validate(pointer.value)
    repository = open_repository(settings.release.hub, start.repository)
    with make_scratch_folder(settings.work_folder, "hub") as scratch:
        folder = scratch / "model"
        present = repository.list_files(start.revision)
        repository.download(start.revision, present & {*COPIED_FILES, "model.safetensors"}, folder)
        if faults := find_faults(folder):
            raise TrainingError(
                f"{repository.url} at {start.revision} is no model to continue from: {'; '.join(faults)}; choose a "
                f"version that `{settings.command('hub')}` lists"
            )
        origin = _read_origin(repository.read_file(start.revision, RECORD_FILE, scratch / "record"))
        record = StartRecord.model_validate({**start.model_dump(), "tree": lake.put_tree(folder), **origin})
    lake.move_pointer(name, record.model_dump(), None)
    return record


def read_start(lake: Lake, start: HubStart) -> StartRecord:
    """Return the imported model; raises `TrainingError` if the lake does not have it."""
    pointer = lake.read_pointer(catalogue.HUB_START.name(start.digest))
    if pointer is None:
        raise TrainingError(
            f"{start.repository} at {start.revision} is not in {lake.url}; import it before the training"
        )
    return StartRecord.model_validate(pointer.value)


def check_same_shape(base: WhisperBaseModel, start: Path) -> None:
    """Raise `TrainingError` if the weights in `start` do not fit the configuration of the base model."""
    expected, found = (json.loads((each / "config.json").read_text("utf-8")) for each in (base.folder, start))
    differing = [key for key in _SHAPE if expected.get(key) != found.get(key)]
    if differing:
        key = differing[0]
        raise TrainingError(
            f"the model to continue from has {key} {found.get(key)}, but base_model {base.name} has {expected.get(key)}; use "
            "the base model that it was fine-tuned from"
        )


def _read_origin(data: bytes | None) -> dict[str, str | None]:
    """Return version and snapshot as the publisher states them; empty without a record that can be read."""
    try:
        value: Any = None if data is None else parse_json(data)
        return {"model_version": str(value["model_version"]), "snapshot": str(value["training"]["snapshot"])}
    except (InputError, KeyError, TypeError):
        return {}
