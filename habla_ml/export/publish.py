"""Exports in the lake. Each pointer names the checkpoint it was made from; the same input is converted once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from habla_ml.client.channel_statement import StatedFile
from habla_ml.client.problems import DamagedDownloadError
from habla_ml.client.unpack import unpack_stated_files
from habla_ml.errors import ExportError
from habla_ml.export.exporter import Exporter, ExportOptions, Progress, PublishedExport
from habla_ml.lake import Lake, catalogue
from habla_ml.scratch import make_scratch_folder

ARTEFACTS_FOLDER: Final = "artefacts"
"""Below the work folder: local copies of models, one folder for each tree."""


@dataclass(frozen=True)
class SourceCheckpoint:
    """A checkpoint to convert."""

    identity: str
    """Tree id of a version's checkpoint, or digest of a base model."""
    fetch: Callable[[], Path]
    """Returns the local Transformers folder; called only when a conversion is needed."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """As in `ExportOptions`, without the checkpoint."""


def find_version_checkpoint(lake: Lake, version: str, work_folder: Path) -> SourceCheckpoint:
    """Return the checkpoint of a model version.

    Raises:
        ExportError: The version is not trained yet.
    """
    pointer = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    if pointer is None:
        raise ExportError(
            f"model version {version} has no checkpoint in {lake.url}; materialise `fine_tuned_checkpoint` for it first"
        )
    tree = str(pointer.value["tree"])
    return SourceCheckpoint(tree, lambda: checkout_artefact(lake, tree, work_folder), {"model_version": version})


def checkout_artefact(lake: Lake, tree: str, work_folder: Path) -> Path:
    """Return a local folder with a tree's files; it is kept below `work_folder` and reused."""
    folder = work_folder / ARTEFACTS_FOLDER / tree
    folder.parent.mkdir(parents=True, exist_ok=True)
    lake.checkout_tree(tree, folder)
    os.utime(folder)  # a cleanup removes copies that have not been used for days
    return folder


def open_export(lake: Lake, exporter: Exporter, export: PublishedExport, work_folder: Path) -> Path:
    """Return a local folder with an export; it is kept below `work_folder` and reused. An archive is unpacked.

    Raises:
        ExportError: The archive is damaged, or has other files than its record states.
    """
    if exporter.stored_as == "tree":
        return checkout_artefact(lake, export.artefact, work_folder)
    folder = work_folder / ARTEFACTS_FOLDER / export.artefact
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            files = [StatedFile.model_validate(each) for each in export.details["files"]]
            with make_scratch_folder(work_folder, exporter.name) as scratch:
                unpacked = scratch / "unpacked"
                unpacked.mkdir()
                unpack_stated_files(lake.fetch_path(export.artefact), files, unpacked, skips_others=True)
                with suppress(OSError):  # another process unpacked it meanwhile
                    unpacked.rename(folder)
        except (KeyError, ValidationError, DamagedDownloadError) as error:
            raise ExportError(
                f"the {exporter.title} {export.artefact[:12]} cannot be unpacked ({error}); materialise "
                f"`{exporter.asset_name}` again"
            ) from error
    os.utime(folder)  # as in `checkout_artefact`
    return folder


def publish_export(
    lake: Lake,
    name: str,
    exporter: Exporter,
    source: SourceCheckpoint,
    options: ExportOptions,
    work_folder: Path,
    progress: Progress,
) -> PublishedExport:
    """Convert a checkpoint and publish the result, unless the pointer already names this conversion.

    Args:
        lake: The lake to publish in.
        name: The pointer to move, a name of the catalogue.
        exporter: The format.
        source: The checkpoint.
        options: From `Exporter.build_options`.
        work_folder: The conversion writes its temporary files here.
        progress: Receives one line per step.

    Raises:
        ExportError: The checkpoint cannot be converted.
    """
    pointer = lake.read_pointer(name)
    target = options.target or next(iter(exporter.targets), None)
    if pointer is not None:
        published = parse_pointer(exporter, pointer.value)
        done = (published.checkpoint, published.quantisation, published.target)
        if done == (source.identity, options.quantisation, target):
            return published
    checkpoint = source.fetch()
    options = replace(options, origin={**source.origin, "checkpoint": source.identity})
    with make_scratch_folder(work_folder, exporter.name) as scratch:
        converted = exporter.convert(checkpoint, scratch, options, progress)
        files = converted.path.rglob("*") if converted.path.is_dir() else [converted.path]
        size_bytes = sum(file.stat().st_size for file in files if file.is_file())
        progress(f"{exporter.name}: {size_bytes / 1e6:.1f} MB in {options.quantisation}")
        store = lake.put_tree if exporter.stored_as == "tree" else lake.put_file
        published = PublishedExport(
            artefact=store(converted.path),
            checkpoint=source.identity,
            quantisation=options.quantisation,
            size_bytes=size_bytes,
            repairs=converted.repairs,
            details=converted.details,
            target=target,
        )
    value = {
        **published.details,
        **({"target": published.target} if published.target else {}),
        exporter.stored_as: published.artefact,
        "checkpoint": published.checkpoint,
        "quantisation": published.quantisation,
        "size_bytes": published.size_bytes,
        "mended": list(published.repairs),
    }
    lake.move_pointer(name, value, pointer)
    return published


def read_export(lake: Lake, version: str, exporter: Exporter) -> PublishedExport | None:
    """Return a model version's export; None where it does not exist yet."""
    pointer = lake.read_pointer(catalogue.EXPORT.name(version, exporter.name))
    return None if pointer is None else parse_pointer(exporter, pointer.value)


def parse_pointer(exporter: Exporter, value: Mapping[str, Any]) -> PublishedExport:
    """Read the value of an export's pointer.

    Raises:
        ExportError: A key is missing.
    """
    details = dict(value)
    try:
        return PublishedExport(
            artefact=details.pop(exporter.stored_as),
            checkpoint=details.pop("checkpoint"),
            quantisation=details.pop("quantisation", exporter.quantisations[0]),
            size_bytes=details.pop("size_bytes"),
            repairs=tuple(details.pop("mended")),
            target=details.pop("target", next(iter(exporter.targets), None)),
            details=details,
        )
    except KeyError as missing:
        raise ExportError(
            f"the stored record of a {exporter.title} has no {missing}; delete its pointer and export again"
        ) from missing
