"""Publish a released model version to a private repository of the Hub.

    main        README.md, habla_release.json, the Transformers folder, and by setting ctranslate2/    tag v2
    ctranslate2 by setting: README.md, habla_release.json and the model for Habla                     tag v2-ctranslate2

A branch gets everything of a version in one commit that names its parent, and the tag of main is last. The tag is the
mark that a version is complete: a call that finds it changes nothing, and one after a kill finishes the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Literal

from pydantic import ValidationError

from habla_ml.errors import ReleaseError
from habla_ml.export.publish import checkout_artefact
from habla_ml.export.registry import SERVED
from habla_ml.hub.repository import FileContent, HubRefs, HubRepository
from habla_ml.lake import Lake, Store, compute_sha256, to_canonical_json
from habla_ml.model_version import version_number
from habla_ml.release.channel import read_channel
from habla_ml.release.hub.model_card import build_model_card
from habla_ml.release.manifest import (
    ArchivedFile,
    EvaluationMetadata,
    ModelReference,
    ModelVersion,
    PublishedRecord,
    ReleaseManifest,
    TrainingMetadata,
    read_manifest,
)
from habla_ml.scratch import make_scratch_folder
from habla_ml.training.record import TrainingRecord
from habla_ml.training.start import RECORD_FILE

MAIN: Final = "main"
CTRANSLATE2: Final = "ctranslate2"
"""Folder or branch of the model for Habla."""
_CARD_FILE: Final = "README.md"
_OWN_FILES: Final = (_CARD_FILE, RECORD_FILE)


class HubModelRecord(PublishedRecord):
    """What a commit contains, and where its model comes from. It lets a training continue where the lake is lost."""

    format: Literal["habla_ml.hub_model/1"] = "habla_ml.hub_model/1"
    version: str
    """Of the release."""
    model_id: str
    model_version: ModelVersion
    base_model: ModelReference
    training: TrainingMetadata
    evaluation: EvaluationMetadata
    licence: str
    files: tuple[ArchivedFile, ...]
    """The model's files in this commit."""


@dataclass(frozen=True)
class HubModel:
    """A model version on the Hub."""

    tag: str
    commit: str
    ctranslate2_commit: str | None
    """Of the branch; None without one."""
    is_new: bool
    """Whether this call made the tag."""


@dataclass(frozen=True)
class _Branch:
    """What a branch gets from a release."""

    name: str
    tag: str
    model: Mapping[str, Path]
    """The model's files by path in the repository."""
    own: Mapping[str, bytes]
    """Card and record."""


def find_released_manifest(store: Store, channel: str, version: str) -> ReleaseManifest | None:
    """Return the manifest of the newest release of a model version on the channel, or None if it was not released."""
    states = [each for each in read_channel(store, channel).releases if each.model_version == version]
    return read_manifest(store, states[-1].manifest_key) if states else None


def publish_hub_model(
    repository: HubRepository,
    lake: Lake,
    manifest: ReleaseManifest,
    ctranslate2: Literal["folder", "branch", "none"],
    work_folder: Path,
    progress: Callable[[str], None],
) -> HubModel:
    """Publish the checkpoint of a release, its model for Habla and a card; a repeated call changes nothing.

    Args:
        repository: Where to publish.
        lake: Has the checkpoint and the model for Habla.
        manifest: The release.
        ctranslate2: Where the model for Habla goes.
        work_folder: For local copies of the models.
        progress: Receives one line per step.

    Raises:
        ReleaseError: The repository is public, has a later model version, or has the tag at other files.
        PointerMovedError: The branch moved during the upload.
        ServiceError: The Hub cannot be reached, or refuses a request.
    """
    record = TrainingRecord.model_validate(lake.get_json(manifest.training.record))
    base = manifest.base_model
    if base.revision is None:  # a path of a machine can have the name of a person
        base = base.model_copy(update={"name": PurePath(base.name).name})
    manifest = manifest.model_copy(update={"base_model": base})
    checkpoint = _list_files(checkout_artefact(lake, manifest.training.checkpoint, work_folder))
    served = next((each for each in manifest.archives if each.label == SERVED.name), None)
    converted = {}
    if served is not None and ctranslate2 != "none":
        converted = _list_files(checkout_artefact(lake, served.artefact, work_folder))
    repository.require_private()
    version, extra = manifest.model_version, None
    layout = ctranslate2 if converted else "none"
    if layout == "branch":
        repository.create_branch(CTRANSLATE2)
        branch = _describe_branch(CTRANSLATE2, f"{version}-{CTRANSLATE2}", converted, manifest, record, layout)
        extra = _publish_branch(repository, branch, manifest, work_folder, progress)
    folder = {f"{CTRANSLATE2}/{path}": file for path, file in converted.items()} if layout == "folder" else {}
    main = _describe_branch(MAIN, version, {**checkpoint, **folder}, manifest, record, layout)
    published = _publish_branch(repository, main, manifest, work_folder, progress)
    return HubModel(version, published.commit, None if extra is None else extra.commit, published.is_new)


def read_model_record(repository: HubRepository, commit: str, work_folder: Path) -> HubModelRecord | None:
    """Return the record in a commit; None if it has none. Raises `ReleaseError` if it is damaged."""
    with make_scratch_folder(work_folder, "hub") as scratch:
        data = repository.read_file(commit, RECORD_FILE, scratch)
    if data is None:
        return None
    try:
        return HubModelRecord.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]["msg"]
        raise ReleaseError(
            f"{RECORD_FILE} in commit {commit} of {repository.url} is damaged ({fault}); restore the file of the commit before"
        ) from None


def _describe_branch(
    name: str,
    tag: str,
    model: Mapping[str, Path],
    manifest: ReleaseManifest,
    record: TrainingRecord,
    layout: Literal["folder", "branch", "none"],
) -> _Branch:
    files = tuple(
        ArchivedFile(path=path, size_bytes=file.stat().st_size, sha256=compute_sha256(file))
        for path, file in sorted(model.items())
    )
    shared = manifest.model_dump(include=set(HubModelRecord.model_fields) - {"format", "files"})
    content = HubModelRecord(**shared, files=files).model_dump(mode="json")
    card = build_model_card(manifest, record, layout)
    return _Branch(name, tag, model, {_CARD_FILE: card.encode(), RECORD_FILE: to_canonical_json(content)})


def _publish_branch(
    repository: HubRepository,
    branch: _Branch,
    manifest: ReleaseManifest,
    work_folder: Path,
    progress: Callable[[str], None],
) -> HubModel:
    refs = repository.read_refs()
    tagged = refs.tags.get(branch.tag)
    if tagged is not None:
        _check_tagged(repository, branch, tagged)
        return HubModel(branch.tag, tagged, None, is_new=False)
    stale = _find_stale_files(repository, branch, refs, manifest, work_folder)
    files: dict[str, FileContent] = {**branch.model, **branch.own}
    size_mb = sum(file.stat().st_size for file in branch.model.values()) / 1e6
    progress(f"{branch.name}: {len(files)} files, {size_mb:.1f} MB, to {repository.url}")
    parent = refs.branches.get(branch.name)
    commit = repository.commit(
        branch.name, files, stale, parent, f"{manifest.model_id} {manifest.version} ({branch.tag})"
    )
    if differing := repository.find_differences(commit, files):
        raise ReleaseError(
            f"commit {commit} of {repository.url} lacks {', '.join(differing[:3])}, or has other bytes there; remove a "
            "line of its .gitignore that matches, then publish again"
        )
    repository.create_tag(branch.tag, commit)
    return HubModel(branch.tag, commit, None, is_new=True)


def _check_tagged(repository: HubRepository, branch: _Branch, tagged: str) -> None:
    """Raise `ReleaseError` if the tag's commit has another model; the card may be of an earlier program."""
    if differing := repository.find_differences(tagged, branch.model):
        raise ReleaseError(
            f"tag {branch.tag} of {repository.url} is at commit {tagged}, which has another {differing[0]} than the release; a "
            "tag is not moved: train a new version, or delete the wrong tag on the Hub"
        )


def _find_stale_files(
    repository: HubRepository, branch: _Branch, refs: HubRefs, manifest: ReleaseManifest, work_folder: Path
) -> set[str]:
    """Return what the previous version has on this branch and the new one has not. Files of others stay.

    Raises:
        ReleaseError: The branch has a later model version.
    """
    head = refs.branches.get(branch.name)
    present = None if head is None else read_model_record(repository, head, work_folder)
    if present is None:
        return set()
    if version_number(present.model_version) > version_number(manifest.model_version):
        raise ReleaseError(
            f"branch {branch.name} of {repository.url} already has {present.model_version}, a later model than "
            f"{manifest.model_version}; earlier versions are not published after later ones"
        )
    return {each.path for each in present.files} - branch.model.keys()


def _list_files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if taken := sorted(found.keys() & set(_OWN_FILES)):
        raise ReleaseError(
            f"{folder} has a {taken[0]}, a name that a release on the Hub needs itself; rename that file"
        )
    return found
