"""The base model of a training: a folder with Whisper's files, and a digest of its content."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import TrainingError
from habla_ml.lake import compute_digest, compute_sha256
from habla_ml.lfs_pointer import LFS_FAULT, is_lfs_pointer
from habla_ml.training.recipe import Recipe

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
_REQUIRED_BASE_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")
COPIED_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES, "preprocessor_config.json")
_DOWNLOADED_FILES = (*_REQUIRED_BASE_FILES, *TOKENIZER_FILES, "preprocessor_config.json")


@dataclass(frozen=True)
class WhisperBaseModel:
    """A base model on this machine."""

    folder: Path
    name: str
    """As written in the recipe."""
    revision: str | None
    digest: str
    """Digest of the files, or of hub id and commit."""


def resolve_base_model(recipe: Recipe) -> WhisperBaseModel:
    """Find the recipe's base model; download a hub model at its pinned revision unless it is in the cache.

    Raises:
        TrainingError: The model is not available or lacks a file that training needs.
    """
    name = recipe.base_model
    if recipe.base_model_is_on_hub:
        folder = download_base_model(name, str(recipe.revision))
        digest = compute_digest({"hub": name, "revision": recipe.revision})
    else:
        if name.startswith("package:"):
            folder = Path(__file__).resolve().parent.parent / name.removeprefix("package:")
        else:
            folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise TrainingError(f"base model {name}: {folder} is not a folder; correct base_model in the recipe")
        digest = compute_digest(
            {file: compute_sha256(folder / file) for file in _DOWNLOADED_FILES if (folder / file).is_file()}
        )
    if faults := find_faults(folder):
        source = f"{name} --revision {recipe.revision}" if recipe.base_model_is_on_hub else shlex.quote(str(folder))
        target = shlex.quote(f"{folder.name}-complete")
        raise TrainingError(
            f"base model {name}: {'; '.join(faults)}; run `habla-ml complete-base-model {source} {target}` "
            "and set base_model to the new folder"
        )
    return WhisperBaseModel(folder, name, recipe.revision, digest)


def find_faults(folder: Path) -> list[str]:
    """Return what training and converters need and the folder lacks; empty for a complete Whisper folder."""
    required = [folder / file for file in _REQUIRED_BASE_FILES]
    faults = [f"{file.name} is missing" for file in required if not file.is_file()]
    faults += [f"{file.name} {LFS_FAULT}" for file in required if file.is_file() and is_lfs_pointer(file)]
    if (folder / "generation_config.json").is_file():
        try:
            content = json.loads((folder / "generation_config.json").read_text("utf-8"))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            faults.append("generation_config.json is not a JSON object")
        elif not content.get("lang_to_id"):
            faults.append("generation_config.json has no lang_to_id, so no language can be chosen")
    return faults


def download_base_model(name: str, revision: str, files: Sequence[str] = _DOWNLOADED_FILES) -> Path:
    """Return the folder of a hub model at a revision; download the files that are not in the cache.

    Raises:
        TrainingError: The hub cannot be reached, or has no such model or revision.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TrainingError(
            f"base model {name} at revision {revision} cannot be downloaded and is not in the local cache: {error}; "
            "connect to the network once, or copy the model to a folder and set base_model to it"
        ) from error
