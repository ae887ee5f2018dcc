"""Publish releases to the origin of the CDN, and roll back.

    releases/v2/habla-coreml-v2-<sha256, 12>.zip     immutable
    releases/v2/manifest-<sha256, 12>.json           immutable
    channels/stable/latest.json                      replaced last, by compare-and-set
    channels/stable/history/000001.json              immutable: earlier states of the channel
    channels/stable/models/ios.json                  what an app asks for; follows latest.json (model_info.py)

All files of a release are stored and read back before the pointer moves. If the process is killed at any step, the
channel names the old or the complete new release, and the same call finishes the work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from posixpath import relpath
from urllib.parse import urlsplit

from habla_ml.errors import ObjectMissingError, PointerMovedError, ReleaseError
from habla_ml.export.zip_folder import zip_folder
from habla_ml.lake import Store, compute_digest, compute_sha256, to_canonical_json
from habla_ml.model_version import version_number
from habla_ml.release.archive import list_archived_files
from habla_ml.release.channel import EVERYBODY, Channel, ChannelPointer, Delivery, move_channel, read_channel
from habla_ml.release.manifest import ArchiveMetadata, ReleaseArchive, ReleaseDraft, ReleaseManifest, read_manifest
from habla_ml.release.model_info import write_model_infos
from habla_ml.scratch import make_scratch_folder

_TIME_DEPENDENT_FIELDS = {"created", "version"}


class PublishedRelease(ChannelPointer):
    """A release on a channel, as the channel named it first."""

    location: str
    """Of the first archive: a path or `s3://…`."""
    is_current: bool
    """Whether it is the present release of the channel."""


def publish_release(
    store: Store,
    public_url: str | None,
    channel: str,
    draft: ReleaseDraft,
    files: Mapping[str, Path],
    now: datetime | None = None,
    work_folder: Path | None = None,
    delivery: Delivery = EVERYBODY,
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

    Raises:
        ReleaseError: An archive is missing or broken, the channel has a later model version, or a stored file is
            damaged.
        LakeError: The store cannot be written; `PointerMovedError` if another process moved the channel.
    """
    _check_public_url(public_url)
    _check_labels(draft, files)
    moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    before = read_channel(store, channel)
    with _open_scratch(work_folder) as scratch:
        folder = f"releases/{draft.model_version}"
        paths = [_pack_archive(each.label, files[each.label], scratch) for each in draft.archives]
        archives = tuple(
            _describe_archive(public_url, folder, draft.model_version, *each)
            for each in zip(draft.archives, paths, strict=True)
        )
        for archive, path in zip(archives, paths, strict=True):
            store.put_if_absent(archive.key, path, archive.sha256)
            _verify_object(store, archive.key, archive.size_bytes, archive.sha256, scratch)
        released = _find_released(store, before, archives)
        if released is not None:
            write_model_infos(store, channel)  # an earlier call may have been killed before
            return _describe_release(store, released, before)
        _check_not_older(before, draft)
        manifest = _reuse_stored_manifest(store, folder, _build_release_manifest(before, draft, archives, moment))
        key = _store_manifest(store, folder, manifest, scratch)
    state = _build_channel_state(public_url, manifest, key, before, moment).model_copy(update=dict(delivery))
    try:
        move_channel(store, before, state)
    except PointerMovedError:
        released = _find_released(store, read_channel(store, channel), archives)
        if released is None:  # another process published something else
            raise
    write_model_infos(store, channel)
    return _describe_release(store, released or state, read_channel(store, channel))


def list_releases(store: Store, channel: str) -> list[PublishedRelease]:
    """Return all releases of the channel, the newest first."""
    found = read_channel(store, channel)
    return [_describe_release(store, each, found) for each in reversed(found.releases)]


def rollback(
    store: Store, channel: str, to: str | None = None, now: datetime | None = None, seen_sequence: int | None = None
) -> PublishedRelease:
    """Move the channel to an earlier or later release after verifying all of its files.

    Args:
        store: The CDN's origin.
        channel: Name of the channel.
        to: A version (`2026.11.21-v2`) or model version (`v2`, its newest release); None is the release before the
            present one.
        now: Time of the move; default the present.
        seen_sequence: Sequence number of the channel's state that the person saw; None accepts any.

    Raises:
        ReleaseError: There is no such release, or one of its files is missing or damaged; the channel did not move.
        PointerMovedError: Another process moved the channel, also since the state that the person saw.
    """
    found = read_channel(store, channel)
    if found.current is None:
        raise ReleaseError(f"channel {channel} in {store.url} has no release yet; there is nothing to roll back to")
    if seen_sequence not in (None, found.current.sequence):
        raise PointerMovedError(
            f"channel {channel} is at move {found.current.sequence}, not at {seen_sequence} as it was seen; look again"
        )
    target = found.previous_release() if to is None else _find_release(found, to)
    if target is None:
        raise ReleaseError(
            f"{found.current.version} is the first release of channel {channel}; there is no earlier one"
        )
    if target.manifest_sha256 != found.current.manifest_sha256:
        _verify_release_files(store, target)
        moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        changes = {
            "sequence": found.current.sequence + 1,
            "move": "rollback",
            "moved_at": moment,
            "replaces": found.current.version,
            "rollout_percent": 100,  # nobody stays on a version that was taken back
        }
        move_channel(store, found, target.model_copy(update=changes))
    write_model_infos(store, channel)
    return _describe_release(store, target, read_channel(store, channel))


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


@contextmanager
def _open_scratch(work_folder: Path | None) -> Iterator[Path]:
    if work_folder is not None:
        with make_scratch_folder(work_folder, "release") as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="release-") as name:
            yield Path(name)


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
        if state.key in wanted and {each.key for each in read_manifest(store, state.manifest_key).archives} == wanted:
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
    )


def _reuse_stored_manifest(store: Store, folder: str, manifest: ReleaseManifest) -> ReleaseManifest:
    """Return the manifest that an interrupted attempt stored for this release, else the new one."""
    for entry in store.list(f"{folder}/manifest-"):
        found = read_manifest(store, entry.key)
        if found.model_dump(exclude=_TIME_DEPENDENT_FIELDS) == manifest.model_dump(exclude=_TIME_DEPENDENT_FIELDS):
            return found
    return manifest


def _store_manifest(store: Store, folder: str, manifest: ReleaseManifest, scratch: Path) -> str:
    data = to_canonical_json(manifest.model_dump(mode="json"))
    sha256 = compute_digest(manifest.model_dump(mode="json"))
    key = f"{folder}/manifest-{sha256[:12]}.json"
    store.put_if_absent(key, data, sha256)
    _verify_object(store, key, len(data), sha256, scratch)
    return key


def _build_channel_state(
    public_url: str | None, manifest: ReleaseManifest, key: str, channel: Channel, moment: datetime
) -> ChannelPointer:
    archive, relative_to = manifest.archives[0], f"channels/{channel.name}"
    return ChannelPointer(
        channel=channel.name,
        sequence=manifest.number,
        move="release",
        moved_at=moment,
        version=manifest.version,
        number=manifest.number,
        model_id=manifest.model_id,
        model_version=manifest.model_version,
        released_at=moment,
        replaces=manifest.replaces,
        url=_build_url(public_url, archive.key, relative_to),
        key=archive.key,
        sha256=archive.sha256,
        size_bytes=archive.size_bytes,
        manifest_url=_build_url(public_url, key, relative_to),
        manifest_key=key,
        manifest_sha256=compute_digest(manifest.model_dump(mode="json")),
    )


def _find_release(channel: Channel, version: str) -> ChannelPointer:
    for each in reversed(channel.releases):
        if version in (each.version, each.model_version):
            return each
    known = ", ".join(each.version for each in channel.releases)
    raise ReleaseError(f"{version!r} was never released on channel {channel.name}; choose one of {known}")


def _verify_release_files(store: Store, state: ChannelPointer) -> None:
    manifest = read_manifest(store, state.manifest_key)
    with _open_scratch(None) as scratch:
        size_bytes = len(to_canonical_json(manifest.model_dump(mode="json")))
        _verify_object(store, state.manifest_key, size_bytes, state.manifest_sha256, scratch)
        for each in manifest.archives:
            _verify_object(store, each.key, each.size_bytes, each.sha256, scratch)


def _verify_object(store: Store, key: str, size_bytes: int, sha256: str, scratch: Path) -> None:
    """Read a stored file back; raises `ReleaseError` if it is missing or differs."""
    try:
        path = store.local_path(key)
        if path is None:
            path = scratch / "read-back"
            store.fetch(key, path)
    except ObjectMissingError:
        raise ReleaseError(f"{key} is not in {store.url}; restore it from a backup or release again") from None
    found = (path.stat().st_size, compute_sha256(path))
    if found != (size_bytes, sha256):
        raise ReleaseError(
            f"{key} in {store.url} is damaged: {found[0]} bytes with sha256 {found[1]}, expected {size_bytes} "
            f"bytes with {sha256}; remove that file and release again"
        )


def _build_url(public_url: str | None, key: str, relative_to: str) -> str:
    """Return the public address of `key`, or its path relative to the folder `relative_to`."""
    return f"{public_url.rstrip('/')}/{key}" if public_url else relpath(key, relative_to)


def _describe_release(store: Store, state: ChannelPointer, channel: Channel) -> PublishedRelease:
    current = channel.current
    return PublishedRelease(
        **dict(state),
        location=f"{store.url}/{state.key}",
        is_current=current is not None and current.manifest_sha256 == state.manifest_sha256,
    )
