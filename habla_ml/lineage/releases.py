"""The releases of model versions, as the channels name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from habla_ml.lake import Store
from habla_ml.lineage.node import Detail, LineageNode
from habla_ml.release.channel import Channel, ChannelPointer, list_channels, read_channel
from habla_ml.release.manifest import ReleaseManifest, read_manifest


@dataclass(frozen=True)
class ChannelRelease:
    """A release on a channel."""

    state: ChannelPointer
    """The channel's state that released it."""
    is_current: bool

    @property
    def details(self) -> dict[str, Detail]:
        """Where it is, for a node of the tree."""
        return {
            "channel": self.state.channel,
            "is_current": self.is_current,
            "released_at": f"{self.state.released_at:%Y-%m-%dT%H:%M:%SZ}",
            "manifest": self.state.manifest_key,
        }


def list_channel_releases(store: Store) -> list[ChannelRelease]:
    """Return every release on every channel; reads each state of each channel, a few kB each."""
    return [each for name in list_channels(store) for each in _list_releases(read_channel(store, name))]


def _list_releases(channel: Channel) -> Iterator[ChannelRelease]:
    current = channel.current
    for state in channel.releases:
        yield ChannelRelease(state, current is not None and current.manifest_sha256 == state.manifest_sha256)


def build_release_leaves(releases: list[ChannelRelease], version: str) -> tuple[LineageNode, ...]:
    """Return a node for each release of a model version."""
    return tuple(
        LineageNode("release", each.state.version, each.details)
        for each in releases
        if each.state.model_version == version
    )


def describe_manifest(store: Store, state: ChannelPointer) -> tuple[ReleaseManifest, Mapping[str, Detail]]:
    """Return the manifest of a release, and what a node of the tree shows of it.

    Raises `ReleaseError` if the manifest is missing or damaged.
    """
    manifest = read_manifest(store, state.manifest_key)
    return manifest, {
        "manifest_sha256": state.manifest_sha256,
        "released_by_code": None if manifest.code is None else str(manifest.code),
        "archives": [f"{each.label} {each.sha256}" for each in manifest.archives],
        "has_override": manifest.override is not None,
    }
