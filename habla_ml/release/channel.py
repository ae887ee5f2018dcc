"""Channels: the pointer `channels/<channel>/latest.json` of a release store, and its history.

Every move has a sequence number. Before the pointer changes, its present state is written to
`channels/<channel>/history/<sequence>.json`. The history therefore contains every state but possibly the present one,
which is in the pointer, and a move that is killed at any step loses nothing.

The pointer is signed. `signed.text` is its other content in canonical JSON, and clients read nothing else. It names one
archive for each platform by address, size and sha256, and the manifest by its sha256, so nothing can be mixed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from habla_ml.client.channel_statement import CHANNEL_KIND
from habla_ml.client.signatures import SignedText, count_valid_signatures
from habla_ml.errors import ReleaseError, UnsignedStateError
from habla_ml.lake import Store, to_canonical_json
from habla_ml.model_version import parent_version
from habla_ml.release.manifest import Label, ModelVersion, PublishedRecord, Sha256
from habla_ml.release.signing import Signing, sign_value

_CHANNEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Delivery(PublishedRecord):
    """Which apps and devices install a release."""

    minimum_app_version: str | None = None
    """Oldest version of the app that can load the model."""
    rollout_percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Share of the devices that install it."""
    critical: bool = False
    """Whether an app installs it at once, also over a metered connection."""


EVERYBODY: Final = Delivery()
"""Every app and device."""


class OfferedArchive(PublishedRecord):
    """The archive that a platform installs."""

    label: Label
    format: Label
    url: str
    """Absolute, or relative to the pointer if the store has no public address."""
    key: str
    """Path below the root of the store."""
    sha256: Sha256
    size_bytes: int
    minimum_os_version: str | None


class ChannelState(Delivery):
    """What a channel offers: the content of `latest.json` that is signed."""

    format: Literal["habla_ml.channel/2"] = CHANNEL_KIND
    channel: str
    sequence: int
    """Grows by one with every move; a client that gets a smaller number than before received an old file."""
    move: Literal["release", "promotion", "rollback", "delivery"]
    """A new release, one of another channel, a return, or another `Delivery` of the same release."""
    moved_at: AwareDatetime
    signed_at: AwareDatetime
    expires_at: AwareDatetime
    """A client installs nothing after this time, so that nobody can hold it at an old state. Renewed without a move."""
    version: str
    number: int
    model_id: Label
    model_version: ModelVersion
    released_at: AwareDatetime
    """Time of the first publication on this channel."""
    replaces: str | None
    """Version of the channel before this move."""
    models: Annotated[dict[Label, OfferedArchive], Field(min_length=1)]
    """One archive for each platform. A platform that the release has no archive for is missing."""
    manifest_url: str
    manifest_key: str
    manifest_sha256: Sha256


class ChannelPointer(ChannelState):
    """Content of `latest.json`."""

    signed: SignedText | None = None
    """None where the deployment has no keys."""

    def copy_state(self, **changes: Any) -> dict[str, Any]:
        """Return what is signed, with changes."""
        return {**{name: getattr(self, name) for name in ChannelState.model_fields}, **changes}


def sign_state(content: Mapping[str, Any], signing: Signing, now: datetime) -> ChannelPointer:
    """Return the pointer with this content of a `ChannelState`, valid from now on for a time."""
    moment = now.astimezone(UTC).replace(microsecond=0)
    times = {"signed_at": moment, "expires_at": moment + signing.lifetime}
    state = ChannelState.model_validate({**content, **times})
    signed = sign_value(CHANNEL_KIND, state.model_dump(mode="json"), signing.keys) if signing.keys else None
    return ChannelPointer(**dict(state), signed=signed)


def require_own_signature(pointer: ChannelPointer, signing: Signing) -> None:
    """Raise `UnsignedStateError` unless one of these keys signed exactly this state.

    Whoever can write to the store can write a state there. Without this check, the next move would sign it.
    """
    if not signing.keys or signing.accepts_unverified:
        return
    signed, keys = pointer.signed, {each.key_id: each.public_bytes for each in signing.keys}
    if signed is None or not count_valid_signatures(CHANNEL_KIND, signed, keys):
        stated = None
    else:
        stated = ChannelPointer.model_validate_json(signed.text).copy_state()
    if stated == pointer.copy_state():
        return
    raise UnsignedStateError(
        f"move {pointer.sequence} of channel {pointer.channel} names {pointer.version}, and none of the keys at hand signed "
        "that; look at `habla-ml releases`, and pass --unverified if it is right"
    )


@dataclass(frozen=True)
class Channel:
    """A channel with its history."""

    name: str
    states: tuple[ChannelPointer, ...]
    """All states by sequence; the last is the present one."""
    tag: str | None

    @property
    def current(self) -> ChannelPointer | None:
        """The present state; None before the first release."""
        return self.states[-1] if self.states else None

    @property
    def releases(self) -> tuple[ChannelPointer, ...]:
        """The first state of each release, by number."""
        return tuple(each for each in self.states if each.move in ("release", "promotion"))

    def find_release_to_beat(self, version: str) -> str | None:
        """Return the model version that `version` would replace, or None before the first release.

        This is the present one, after a rollback too. A version that is itself present, and a replicate of it, are
        compared with the release before it.
        """
        own, current = parent_version(version) or version, self.current
        if current is not None and current.model_version == own:
            current = self.previous_release()
        return None if current is None or current.model_version == own else current.model_version

    def previous_release(self) -> ChannelPointer | None:
        """The release before the present one, also after rollbacks."""
        if self.current is None:
            return None
        same = (each for each in self.releases if each.manifest_sha256 == self.current.manifest_sha256)
        first = next(same, self.current)
        return next((each for each in reversed(self.states) if each.sequence < first.sequence), None)


def list_channels(store: Store) -> list[str]:
    """Return the names of all channels, sorted; lists the files of all of them.

    What a person or a file manager left there, such as a `.DS_Store` or a copy of a folder, is no channel.
    """
    folders = {each.key.split("/")[1] for each in store.list("channels/") if each.key.count("/") > 1}
    return sorted(filter(_CHANNEL_NAME.fullmatch, folders))


def read_channel(store: Store, name: str) -> Channel:
    """Read the channel `name` with its history; raises `ReleaseError` for an invalid name or a damaged file."""
    if not _CHANNEL_NAME.fullmatch(name):
        raise ReleaseError(f"invalid channel name {name!r}; use lower-case letters, digits and hyphens, like stable")
    latest = f"channels/{name}/latest.json"
    found = store.read_versioned(latest)
    if found is None:
        return Channel(name, (), None)
    current = _parse_pointer(found.data, latest)
    states = (_parse_pointer(store.read(each.key), each.key) for each in store.list(f"channels/{name}/history/"))
    earlier = [each for each in states if each.sequence < current.sequence]
    return Channel(name, (*earlier, current), found.tag)


def move_channel(store: Store, channel: Channel, state: ChannelPointer) -> None:
    """Move the channel to `state`; raises `PointerMovedError` if it changed since it was read."""
    current = channel.current
    folder = f"channels/{channel.name}"
    if current is not None:
        earlier = to_canonical_json(current.model_dump(mode="json"))
        store.put_if_absent(f"{folder}/history/{current.sequence:06}.json", earlier)
    store.compare_and_set(f"{folder}/latest.json", to_canonical_json(state.model_dump(mode="json")), channel.tag)


def _parse_pointer(data: bytes, key: str) -> ChannelPointer:
    try:
        return ChannelPointer.model_validate_json(data)
    except ValidationError as error:
        raise ReleaseError(f"{key} is damaged ({error.errors()[0]['msg']}); restore it from a backup") from error
