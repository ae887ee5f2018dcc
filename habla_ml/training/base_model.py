"""The base model of a training: a folder with Whisper's files, and a digest of its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import TrainingError
from habla_ml.lake import compute_digest, compute_sha256
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
        folder = _download_base_model(name, str(recipe.revision))
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
    missing = [file for file in _REQUIRED_BASE_FILES if not (folder / file).is_file()]
    if missing:
        raise TrainingError(
            f"base model {name}: {folder} lacks {', '.join(missing)}; training needs a complete Whisper folder "
            f"({', '.join(_REQUIRED_BASE_FILES)})"
        )
    return WhisperBaseModel(folder, name, recipe.revision, digest)


def _download_base_model(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_DOWNLOADED_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TrainingError(
            f"base model {name} at revision {revision} cannot be downloaded and is not in the local cache: {error}; "
            "connect to the network once, or copy the model to a folder and set base_model to it"
        ) from error
