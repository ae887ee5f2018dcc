"""Publish releases to the origin of the CDN.

    releases/v2/habla-coreml-v2-<sha256, 12>.zip     immutable
    releases/v2/manifest-<sha256, 12>.json           immutable
    channels/stable/latest.json                      replaced last, by compare-and-set
    channels/stable/history/000001.json              immutable: earlier states of the channel
    channels/stable/models/ios.json                  what an app asks for; follows latest.json (model_info.py)

All files of a release are stored and read back before the pointer moves. If the process is killed at any step, the
channel names the old or the complete new release, and the same call finishes the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from posixpath import relpath
from typing import Any
from urllib.parse import urlsplit

from habla_ml.code_identity import read_code_identity
from habla_ml.errors import PointerMovedError, ReleaseError
from habla_ml.export.zip_folder import zip_folder
from habla_ml.lake import Store, compute_digest, compute_sha256, to_canonical_json
from habla_ml.model_version import version_number
from habla_ml.release.archive import list_archived_files
from habla_ml.release.channel import (
    EVERYBODY,
    Channel,
    ChannelPointer,
    Delivery,
    OfferedArchive,
    move_channel,
    read_channel,
    sign_state,
)
from habla_ml.release.manifest import ArchiveMetadata, ReleaseArchive, ReleaseDraft, ReleaseManifest, read_manifest
from habla_ml.release.model_info import write_model_infos
from habla_ml.release.published import PublishedRelease, describe_release
from habla_ml.release.signing import UNSIGNED, Signing
from habla_ml.release.stored_files import open_release_scratch, verify_stored_file

_ATTEMPT_DEPENDENT_FIELDS = {"created", "version", "code"}


def publish_release(
    store: Store,
    public_url: str | None,
    channel: str,
    draft: ReleaseDraft,
    files: Mapping[str, Path],
    now: datetime | None = None,
    work_folder: Path | None = None,
    delivery: Delivery = EVERYBODY,
    signing: Signing = UNSIGNED,
) -> PublishedRelease:
    """Store archives and manifest, verify them, then move the channel to the release.

    A release moves the channel once. A repeated call with the same archives of the same model version returns the
    first result and does not move the channel, also after a rollback or a later release.

    Args:
        store: The CDN's origin.
        public_url: Address of the root of the store; None writes relative addresses.
        channel: Its name.
        draft: Description of the release.
        files: A zip, or a folder to zip, by label of the archive.
        now: Time of the release; default the present.
        work_folder: For temporary files as large as the archives; default that of the system.
        delivery: Which apps and devices install it.
        signing: What signs the channel's state.

    Raises:
        ReleaseError: An archive is missing or broken, the channel has a later model version, or a stored file is
            damaged.
        LakeError: The store cannot be written; `PointerMovedError` if another process moved the channel.
    """
    _check_public_url(public_url)
    _check_labels(draft, files)
    moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    before = read_channel(store, channel)
    with open_release_scratch(work_folder) as scratch:
        folder = f"releases/{draft.model_version}"
        archives = tuple(_store_archives(store, public_url, folder, draft, files, scratch))
        released = _find_released(store, before, archives)
        if released is not None:
            write_model_infos(store, channel)  # an earlier call may have been killed before
            return describe_release(store, released, before)
        _check_not_older(before, draft)
        manifest = _reuse_stored_manifest(store, folder, _build_release_manifest(before, draft, archives, moment))
        key = _store_manifest(store, folder, manifest, scratch)
    state = sign_state(
        {**_build_channel_state(public_url, manifest, key, before, moment), **dict(delivery)}, signing, moment
    )
    try:
        move_channel(store, before, state)
    except PointerMovedError:
        released = _find_released(store, read_channel(store, channel), archives)
        if released is None:  # another process published something else
            raise
    write_model_infos(store, channel)
    return describe_release(store, released or state, read_channel(store, channel))


def _store_archives(
    store: Store, public_url: str | None, folder: str, draft: ReleaseDraft, files: Mapping[str, Path], scratch: Path
) -> Iterator[ReleaseArchive]:
    # All are packed first: a broken one stores nothing.
    paths = [_pack_archive(each.label, files[each.label], scratch) for each in draft.archives]
    archives = [
        _describe_archive(public_url, folder, draft.model_version, *each)
        for each in zip(draft.archives, paths, strict=True)
    ]
    for archive, path in zip(archives, paths, strict=True):
        store.put_if_absent(archive.key, path, archive.sha256)
        verify_stored_file(store, archive.key, archive.size_bytes, archive.sha256, scratch)
        yield archive


def _check_public_url(public_url: str | None) -> None:
    if public_url is not None and not (
        urlsplit(public_url).scheme in {"http", "https"} and urlsplit(public_url).netloc
    ):
        raise ReleaseError(f"release.public_url is {public_url!r}, expected an address like https://models.example.org")


def _check_labels(draft: ReleaseDraft, files: Mapping[str, Path]) -> None:
    labels = [each.label for each in draft.archives]
    if sorted(labels) != sorted(files):
        raise ReleaseError(
            f"the draft has the archives {labels}, but the files are for {sorted(files)}; pass one file for each archive"
        )
    for path in files.values():
        if not path.exists():
            raise ReleaseError(f"{path} does not exist; export the model version again")


def _check_not_older(channel: Channel, draft: ReleaseDraft) -> None:
    current = channel.current
    if current is not None and version_number(draft.model_version) < version_number(current.model_version):
        raise ReleaseError(
            f"channel {channel.name} already has {current.version}, a later model than {draft.model_version}; to return to "
            "an earlier release, roll back (docs/release_and_roll_back.md)"
        )


def _pack_archive(label: str, source: Path, scratch: Path) -> Path:
    return zip_folder(source, scratch / f"{label}.zip") if source.is_dir() else source


def _describe_archive(
    public_url: str | None, folder: str, model_version: str, facts: ArchiveMetadata, path: Path
) -> ReleaseArchive:
    sha256 = compute_sha256(path)
    name = f"habla-{facts.label}-{model_version}-{sha256[:12]}.zip"
    return ReleaseArchive(
        **facts.model_dump(),
        name=name,
        key=f"{folder}/{name}",
        url=_build_url(public_url, f"{folder}/{name}", relative_to=folder),
        size_bytes=path.stat().st_size,
        sha256=sha256,
        files=list_archived_files(path),
    )


def _find_released(store: Store, channel: Channel, archives: tuple[ReleaseArchive, ...]) -> ChannelPointer | None:
    """Return the state that released exactly these archives, or None."""
    wanted = {each.key for each in archives}
    for state in reversed(channel.releases):
        offered = {each.key for each in state.models.values()}
        if offered <= wanted and {each.key for each in read_manifest(store, state.manifest_key).archives} == wanted:
            return state
    return None


def _build_release_manifest(
    channel: Channel, draft: ReleaseDraft, archives: tuple[ReleaseArchive, ...], moment: datetime
) -> ReleaseManifest:
    """Return the manifest; a second release of a model version on one day is named `2026.11.21-v2.2`."""
    taken = {each.version for each in channel.releases}
    name = f"{moment:%Y.%m.%d}-{draft.model_version}"
    names = (name, *(f"{name}.{rebuild}" for rebuild in range(2, len(taken) + 2)))
    return ReleaseManifest(
        **{**dict(draft), "archives": archives},
        version=next(each for each in names if each not in taken),
        number=channel.current.sequence + 1 if channel.current else 1,
        created=moment,
        channel=channel.name,
        replaces=channel.current.version if channel.current else None,
        code=read_code_identity(),
    )


def _reuse_stored_manifest(store: Store, folder: str, manifest: ReleaseManifest) -> ReleaseManifest:
    """Return the manifest that an interrupted attempt stored for this release, else the new one."""
    for entry in store.list(f"{folder}/manifest-"):
        found = read_manifest(store, entry.key)
        if found.model_dump(exclude=_ATTEMPT_DEPENDENT_FIELDS) == manifest.model_dump(
            exclude=_ATTEMPT_DEPENDENT_FIELDS
        ):
            return found
    return manifest


def _store_manifest(store: Store, folder: str, manifest: ReleaseManifest, scratch: Path) -> str:
    data = to_canonical_json(manifest.model_dump(mode="json"))
    sha256 = compute_digest(manifest.model_dump(mode="json"))
    key = f"{folder}/manifest-{sha256[:12]}.json"
    store.put_if_absent(key, data, sha256)
    verify_stored_file(store, key, len(data), sha256, scratch)
    return key


def _build_channel_state(
    public_url: str | None, manifest: ReleaseManifest, key: str, channel: Channel, moment: datetime
) -> dict[str, Any]:
    relative_to = f"channels/{channel.name}"
    models = {
        each.platform: OfferedArchive(
            label=each.label,
            format=each.format,
            url=_build_url(public_url, each.key, relative_to),
            key=each.key,
            sha256=each.sha256,
            size_bytes=each.size_bytes,
            minimum_os_version=each.minimum_ios,
        )
        for each in manifest.archives
    }
    return {
        "channel": channel.name,
        "sequence": manifest.number,
        "move": "release",
        "moved_at": moment,
        "version": manifest.version,
        "number": manifest.number,
        "model_id": manifest.model_id,
        "model_version": manifest.model_version,
        "released_at": moment,
        "replaces": manifest.replaces,
        "models": models,
        "manifest_url": _build_url(public_url, key, relative_to),
        "manifest_key": key,
        "manifest_sha256": compute_digest(manifest.model_dump(mode="json")),
    }


def _build_url(public_url: str | None, key: str, relative_to: str) -> str:
    """Return the public address of `key`, or its path relative to the folder `relative_to`."""
    return f"{public_url.rstrip('/')}/{key}" if public_url else relpath(key, relative_to)
