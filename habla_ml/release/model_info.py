"""What an app asks for: the model of a channel for its platform, as a file of the CDN and as the service's answer.

    channels/stable/models/ios.json

The files follow the channel's pointer. A file is replaced only by a later state of the channel, by compare-and-set, and
the move that was killed before its files is completed by the next release or rollback. The service builds the same JSON
from the pointer itself, so that it never lags.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from posixpath import relpath
from threading import Lock
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, Field, ValidationError

from habla_ml.client.signatures import SignedText
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Store, to_canonical_json
from habla_ml.release.channel import ChannelPointer, OfferedArchive, read_channel
from habla_ml.release.manifest import Label, ModelVersion, PublishedRecord, Sha256

_LIFETIME: Final = timedelta(seconds=30)


class ModelInfo(PublishedRecord):
    """The model that a channel offers to a platform."""

    platform: Label
    channel: str
    sequence: Annotated[int, Field(description="Grows with every move; an answer with a smaller one is outdated.")]
    version: Annotated[str, Field(description="Send it as `current`.", examples=["2026.11.21-v2"])]
    number: Annotated[int, Field(description="Orders versions; a rollback returns to a smaller one.")]
    modelVersion: Annotated[ModelVersion, Field(description="Send it with corrections.")]  # noqa: N815 (a name of the wire)
    url: Annotated[
        str,
        Field(description="Of the zip. A relative one begins at `channels/CHANNEL/models/` of the CDN."),
    ]
    sha256: Annotated[Sha256, Field(description="Of the zip.")]
    sizeBytes: Annotated[int, Field(description="Of the zip.")]  # noqa: N815
    format: Annotated[Label, Field(description="`mlpackage`, `mlmodelc` or `ctranslate2`.")]
    minimumOSVersion: Annotated[str | None, Field(examples=["17.0"])]  # noqa: N815
    minimumAppVersion: Annotated[str | None, Field(examples=["1.4.0"])]  # noqa: N815
    rolloutPercent: Annotated[  # noqa: N815
        int,
        Field(
            ge=0,
            le=100,
            description="Share of devices that install it. A device takes the first 8 bytes of SHA-256(`INSTALLATION/VERSION`) "
            "as a big-endian number modulo 100, and installs if that is smaller. INSTALLATION is a random id that it keeps.",
        ),
    ]
    critical: Annotated[bool, Field(description="Whether to install it at once, also over a metered connection.")]
    move: Annotated[
        Literal["release", "promotion", "rollback", "delivery"],
        Field(
            description="What changed last: `promotion` came from another channel, `rollback` returned to an older version, "
            "`delivery` changed the share or `critical`."
        ),
    ]
    expiresAt: Annotated[AwareDatetime, Field(description="Install nothing that this answer names later.")]  # noqa: N815
    signed: Annotated[
        SignedText | None,
        Field(description="The state of the channel with its signatures. Verify it, and install what it names."),
    ]


def build_model_infos(pointer: ChannelPointer) -> dict[str, ModelInfo]:
    """Return the model of each platform."""
    return {platform: _describe(pointer, platform, each) for platform, each in pointer.models.items()}


def write_model_infos(store: Store, channel: str) -> None:
    """Write the files of a channel's present state, and delete those of platforms that it has no model for.

    Raises `LakeError` if the store cannot be written; the call can be repeated.
    """
    pointer = read_channel(store, channel).current
    while pointer is not None:
        infos = build_model_infos(pointer)
        for info in infos.values():
            _replace_older(store, info)
        wanted = {get_model_info_key(channel, each) for each in infos}
        for entry in store.list(f"channels/{channel}/models/"):
            if entry.key not in wanted:
                store.delete(entry.key)
        found = read_channel(store, channel).current
        if found is None or found == pointer:
            return
        pointer = found  # moved meanwhile: our files can be older than the other process left them


def get_model_info_key(channel: str, platform: str) -> str:
    """Return the path of a platform's file below the root of the store."""
    return f"channels/{channel}/models/{platform}.json"


class ModelInfoCache:
    """The models of channels, read from the store at most once in 30 s each. Several threads may use it."""

    _MOST_CHANNELS: Final = 64

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._found: dict[str, tuple[datetime, dict[str, ModelInfo]]] = {}

    def read(self, channel: str, now: datetime) -> dict[str, ModelInfo]:
        """Return the model of each platform; empty if the channel has no release.

        While the store cannot be read, the last answer is used. Raises `LakeError` if there is none, and `ReleaseError`
        if a file is damaged.
        """
        known = self._found.get(channel)
        if known is not None and known[0] <= now < known[0] + _LIFETIME:
            return known[1]
        with self._lock:
            known = self._found.get(channel)
            if known is not None and known[0] <= now < known[0] + _LIFETIME:
                return known[1]
            infos = self._read_store(channel, known)
            self._found.pop(channel, None)
            self._found[channel] = (now, infos)
            while len(self._found) > self._MOST_CHANNELS:
                del self._found[next(iter(self._found))]
            return infos

    def _read_store(self, channel: str, known: tuple[datetime, dict[str, ModelInfo]] | None) -> dict[str, ModelInfo]:
        try:
            pointer = read_channel(self._store, channel).current
            return {} if pointer is None else build_model_infos(pointer)
        except LakeError:
            if known is None:
                raise
            return known[1]


def _describe(pointer: ChannelPointer, platform: str, archive: OfferedArchive) -> ModelInfo:
    is_public = bool(urlsplit(archive.url).scheme)
    folder = get_model_info_key(pointer.channel, "").rpartition("/")[0]
    return ModelInfo(
        platform=platform,
        channel=pointer.channel,
        sequence=pointer.sequence,
        version=pointer.version,
        number=pointer.number,
        modelVersion=pointer.model_version,
        url=archive.url if is_public else relpath(archive.key, folder),
        sha256=archive.sha256,
        sizeBytes=archive.size_bytes,
        format=archive.format,
        minimumOSVersion=archive.minimum_os_version,
        minimumAppVersion=pointer.minimum_app_version,
        rolloutPercent=pointer.rollout_percent,
        critical=pointer.critical,
        move=pointer.move,
        expiresAt=pointer.expires_at,
        signed=pointer.signed,
    )


def _replace_older(store: Store, info: ModelInfo) -> None:
    key, data = get_model_info_key(info.channel, info.platform), to_canonical_json(info.model_dump(mode="json"))
    while True:
        found = store.read_versioned(key)
        if found is not None and (found.data == data or _read_order(found.data) > (info.sequence, info.expiresAt)):
            return
        try:
            store.compare_and_set(key, data, None if found is None else found.tag)
        except PointerMovedError:
            continue
        return


def _read_order(data: bytes) -> tuple[int, datetime]:
    """Return what orders two states of a file; that of a damaged one comes first, because any state may replace it."""
    try:
        info = ModelInfo.model_validate_json(data)
    except ValidationError:
        return 0, datetime.min.replace(tzinfo=UTC)
    return info.sequence, info.expiresAt
