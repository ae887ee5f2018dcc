"""Exports in the lake: each knows the checkpoint it was made from, and is made once for it.

Pointers: `<owner>/ctranslate2` and `<owner>/coreml`, where the owner is `models/<version>` or, for the model that
training starts from, `bases/<digest>`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import build_coreml_archive
from habla_ml.export.ctranslate2 import convert_to_ctranslate2
from habla_ml.export.files import ArtefactFile
from habla_ml.lake import Lake, catalogue

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PublishedCTranslate2:
    """A CTranslate2 folder in the lake."""

    tree: str
    """Tree id: names the artefact in evaluations and releases."""
    checkpoint: str
    """What it was made from: a checkpoint's tree id, or the base model's digest."""
    quantisation: str
    size_bytes: int
    mended: tuple[str, ...]


@dataclass(frozen=True)
class PublishedCoreML:
    """The phone's archive in the lake."""

    archive: str
    """Object id of the zip, which is its sha256."""
    checkpoint: str
    model_format: str
    size_bytes: int
    vocab_size: int
    has_whisperkit_vocab_size: bool
    parity: Mapping[str, float]
    files: tuple[ArtefactFile, ...]
    mended: tuple[str, ...]


def get_checkpoint_tree(lake: Lake, version: str) -> str:
    """Tree id of a version's checkpoint; raises `ExportError` where it was not trained yet."""
    pointer = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    if pointer is None:
        raise ExportError(
            f"model version {version} has no checkpoint in {lake.url}; materialise `fine_tuned_checkpoint` for it first"
        )
    return str(pointer.value["tree"])


def checkout_artefact(lake: Lake, tree: str, work_folder: Path) -> Path:
    """A local folder with a tree's files, kept below `work_folder` for the next who asks."""
    folder = work_folder / "artefacts" / tree
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lake.checkout_tree(tree, folder)


def publish_ctranslate2(
    lake: Lake,
    name: str,
    identity: str,
    checkpoint: Path,
    quantisation: str,
    work_folder: Path,
    progress: Progress | None = None,
) -> PublishedCTranslate2:
    """Convert `checkpoint` for Habla and publish it under the pointer `name`, unless that is done already.

    Args:
        lake: Where it is published.
        name: The pointer to move, a name of the catalogue.
        identity: What the checkpoint's content is named by.
        checkpoint: A folder as the trainer left it.
        quantisation: See `QUANTISATIONS`.
        work_folder: Where the conversion may write.
        progress: Told one line for each step.
    """
    pointer = lake.read_pointer(name)
    if pointer is not None and (pointer.value["checkpoint"], pointer.value["quantisation"]) == (
        identity,
        quantisation,
    ):
        return PublishedCTranslate2(**{**pointer.value, "mended": tuple(pointer.value["mended"])})
    work_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_folder, prefix="ctranslate2-") as scratch:
        made = convert_to_ctranslate2(checkpoint, Path(scratch) / "model", quantisation, progress)
        published = PublishedCTranslate2(
            lake.put_tree(made.folder), identity, quantisation, made.size_bytes, made.repairs
        )
    lake.move_pointer(name, {**asdict(published), "mended": list(published.mended)}, pointer)
    return published


def publish_coreml(
    lake: Lake,
    version: str,
    identity: Mapping[str, str],
    work_folder: Path,
    timeout_s: float,
    progress: Progress | None = None,
) -> PublishedCoreML:
    """Build the phone's archive of a version and publish it as `models/<version>/coreml`, unless that is done already.

    Args:
        lake: Where the checkpoint is and the archive goes.
        version: The model version.
        identity: Written into the archive's manifest; the checkpoint's tree id is added.
        work_folder: Where the conversion may write.
        timeout_s: For the conversion's process.
        progress: Told one line for each step.
    """
    name, tree = catalogue.EXPORT.name(version, "coreml"), get_checkpoint_tree(lake, version)
    pointer = lake.read_pointer(name)
    if pointer is not None and pointer.value["checkpoint"] == tree:
        return _parse_coreml_pointer(pointer.value)
    checkpoint = checkout_artefact(lake, tree, work_folder)
    with tempfile.TemporaryDirectory(dir=work_folder, prefix="coreml-") as scratch:
        made = build_coreml_archive(
            checkpoint,
            Path(scratch),
            Path(scratch) / "archive.zip",
            {"model_version": version, "checkpoint": tree, **identity},
            timeout_s,
            progress,
        )
        published = PublishedCoreML(
            archive=lake.put_file(made.path),
            checkpoint=tree,
            model_format=made.model_format,
            size_bytes=made.size_bytes,
            vocab_size=made.vocab_size,
            has_whisperkit_vocab_size=made.has_whisperkit_vocab_size,
            parity=asdict(made.parity),
            files=made.files,
            mended=made.repairs,
        )
    value = {**asdict(published), "files": [asdict(each) for each in made.files], "mended": list(made.repairs)}
    lake.move_pointer(name, value, pointer)
    return published


def _parse_coreml_pointer(value: Mapping[str, object]) -> PublishedCoreML:
    files, mended = value["files"], value["mended"]
    if not isinstance(files, list) or not isinstance(mended, list):
        raise ExportError(f"the stored record of archive {value.get('archive')} is damaged; build it again")
    read = {**value, "files": tuple(ArtefactFile(**each) for each in files), "mended": tuple(mended)}
    return PublishedCoreML(**read)  # type: ignore[arg-type]
