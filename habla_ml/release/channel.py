"""A channel: the one moving thing of a release store, `channels/<channel>/latest.json`, and where it stood before.

Every move has a sequence number. Before the pointer leaves a state, that state is written to
`channels/<channel>/history/<sequence>.json`, so a move that is killed at any step loses nothing: the history holds
every state up to the present one, or is one behind it, and then the pointer itself is the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from habla_ml.errors import ReleaseError
from habla_ml.lake import Store, to_canonical_json
from habla_ml.release.manifest import Label, ModelVersion, PublishedRecord, Sha256

_CHANNEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class ChannelPointer(PublishedRecord):
    """What `latest.json` says."""

    format: Literal["habla_ml.channel/1"] = "habla_ml.channel/1"
    channel: str
    sequence: int
    """Grows by one with every move: a client that has seen a larger one was served something old."""
    move: Literal["release", "rollback"]
    moved_at: AwareDatetime
    version: str
    number: int
    model_id: Label
    model_version: ModelVersion
    released_at: AwareDatetime
    """When the release was first on this channel."""
    replaces: str | None
    """The version that the channel named before this move."""
    url: str
    """The archive: absolute, or relative to this file where the store has no public address."""
    key: str
    sha256: Sha256
    size_bytes: int
    manifest_url: str
    manifest_key: str
    manifest_sha256: Sha256


@dataclass(frozen=True)
class Channel:
    """A channel as it stands, with every state it ever had."""

    name: str
    states: tuple[ChannelPointer, ...]
    """By sequence; the last is the present one."""
    tag: str | None

    @property
    def current(self) -> ChannelPointer | None:
        """The present state, or None where nothing was released yet."""
        return self.states[-1] if self.states else None

    @property
    def releases(self) -> tuple[ChannelPointer, ...]:
        """The state with which each release came, in the order of their numbers."""
        return tuple(each for each in self.states if each.move == "release")

    def previous_release(self) -> ChannelPointer | None:
        """The release on which the present one followed, whatever was rolled back since."""
        if self.current is None:
            return None
        same = (each for each in self.releases if each.manifest_sha256 == self.current.manifest_sha256)
        came = next(same, self.current)
        return next((each for each in reversed(self.states) if each.sequence < came.sequence), None)


def read_channel(store: Store, name: str) -> Channel:
    """The channel `name` with its history; raises `ReleaseError` for a bad name or a damaged file."""
    if not _CHANNEL_NAME.fullmatch(name):
        raise ReleaseError(f"{name!r} is no channel's name; use small letters, digits and hyphens, like stable")
    found = store.read_versioned(_latest_key(name))
    if found is None:
        return Channel(name, (), None)
    current = _parse_pointer(found.data, _latest_key(name))
    entries = store.list(_history_prefix(name))
    earlier = (_parse_pointer(store.read(entry.key), entry.key) for entry in entries)
    return Channel(name, (*_select_earlier(earlier, current.sequence), current), found.tag)


def move_channel(store: Store, channel: Channel, state: ChannelPointer) -> None:
    """Let the channel stand at `state`; raises `PointerMovedError` where it was moved since it was read."""
    current = channel.current
    if current is not None:
        store.put_if_absent(
            f"{_history_prefix(channel.name)}{current.sequence:06}.json", _serialise_pointer(current)
        )
    store.compare_and_set(_latest_key(channel.name), _serialise_pointer(state), channel.tag)


def _latest_key(channel: str) -> str:
    return f"channels/{channel}/latest.json"


def _history_prefix(channel: str) -> str:
    return f"channels/{channel}/history/"


def _select_earlier(states: Iterable[ChannelPointer], sequence: int) -> list[ChannelPointer]:
    return [each for each in states if each.sequence < sequence]


def _serialise_pointer(state: ChannelPointer) -> bytes:
    return to_canonical_json(state.model_dump(mode="json"))


def _parse_pointer(data: bytes, key: str) -> ChannelPointer:
    try:
        return ChannelPointer.model_validate_json(data)
    except ValidationError as error:
        raise ReleaseError(f"{key} is damaged ({error.errors()[0]['msg']}); restore it from a backup") from error
