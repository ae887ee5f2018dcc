"""The releases of a channel, for those who list them."""

from __future__ import annotations

from habla_ml.lake import Store
from habla_ml.release.channel import Channel, ChannelPointer, read_channel


class PublishedRelease(ChannelPointer):
    """A release on a channel, as the channel named it first."""

    locations: dict[str, str]
    """Of the archives by platform: a path or `s3://…`."""
    is_current: bool
    """Whether it is the present release of the channel."""


def list_releases(store: Store, channel: str) -> list[PublishedRelease]:
    """Return all releases of the channel, the newest first."""
    found = read_channel(store, channel)
    return [describe_release(store, each, found) for each in reversed(found.releases)]


def describe_release(store: Store, state: ChannelPointer, channel: Channel) -> PublishedRelease:
    """Return a state of a channel with where its archives are."""
    current = channel.current
    return PublishedRelease(
        **dict(state),
        locations={platform: f"{store.url}/{each.key}" for platform, each in state.models.items()},
        is_current=current is not None and current.manifest_sha256 == state.manifest_sha256,
    )
