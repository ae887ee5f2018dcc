"""Move a channel without a new model: back, forward from another channel, to more devices, or with a renewed signature only.

A state is signed only if the keys at hand signed it before: others may be able to write to the store. Every move compares
the channel with what it read, so of two at once one fails. A person's move also names what the person
saw (`seen_sequence`), so that two people who react to one incident do not move it twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from habla_ml.errors import PointerMovedError, ReleaseError
from habla_ml.lake import Store
from habla_ml.release.channel import (
    Channel,
    ChannelPointer,
    Delivery,
    list_channels,
    move_channel,
    read_channel,
    require_own_signature,
    sign_state,
)
from habla_ml.release.model_info import write_model_infos
from habla_ml.release.published import PublishedRelease, describe_release
from habla_ml.release.signing import UNSIGNED, Signing
from habla_ml.release.stored_files import verify_release_files


def rollback(
    store: Store,
    channel: str,
    to: str | None = None,
    now: datetime | None = None,
    seen_sequence: int | None = None,
    signing: Signing = UNSIGNED,
) -> PublishedRelease:
    """Move the channel to an earlier or later release after verifying all of its files.

    Args:
        store: The CDN's origin.
        channel: Name of the channel.
        to: A version (`2026.11.21-v2`) or model version (`v2`, its newest release); None is the release before the
            present one.
        now: Time of the move; default the present.
        seen_sequence: Sequence number of the channel's state that the person saw; None accepts any.
        signing: What signs the channel's state.

    Raises:
        ReleaseError: There is no such release, or one of its files is missing or damaged; the channel did not move.
        PointerMovedError: Another process moved the channel, also since the state that the person saw.
    """
    found, current = _read_seen(store, channel, seen_sequence)
    target = found.previous_release() if to is None else _find_release(found, to)
    if target is None:
        raise ReleaseError(f"{current.version} is the first release of channel {channel}; there is no earlier one")
    if target.manifest_sha256 != current.manifest_sha256:
        verify_release_files(store, target)
        # Nobody stays on a version that was taken back.
        _move(store, found, target, signing, now, move="rollback", rollout_percent=100)
    write_model_infos(store, channel)
    return describe_release(store, target, read_channel(store, channel))


def promote(
    store: Store,
    source: str,
    channel: str,
    delivery: Delivery,
    now: datetime | None = None,
    seen_sequence: int | None = None,
    signing: Signing = UNSIGNED,
) -> PublishedRelease:
    """Release what the channel `source` offers on another channel too, with the same files.

    `seen_sequence` is that of `source`. A repeated call changes nothing.

    Raises:
        ReleaseError: `source` has no release, or a file of it is missing or damaged; the channel did not move.
        PointerMovedError: Another process moved one of the channels.
    """
    _, offered = _read_seen(store, source, seen_sequence)
    found = read_channel(store, channel)
    if found.current is None or found.current.manifest_sha256 != offered.manifest_sha256:
        verify_release_files(store, offered)
        moment = _choose_moment(now)
        number = 1 if found.current is None else found.current.sequence + 1
        changes = {"channel": channel, "number": number, "released_at": moment, **dict(delivery)}
        _move(store, found, offered, signing, moment, move="promotion", **changes)
    write_model_infos(store, channel)
    after = read_channel(store, channel)
    return describe_release(store, after.current or offered, after)


def change_delivery(
    store: Store,
    channel: str,
    rollout_percent: int,
    critical: bool | None = None,
    now: datetime | None = None,
    seen_sequence: int | None = None,
    signing: Signing = UNSIGNED,
) -> PublishedRelease:
    """Give the present release to another share of the devices; None leaves `critical` as it is.

    Raises:
        ReleaseError: The channel has no release, or none of the keys signed its state.
        PointerMovedError: Another process moved the channel, also since the state that the person saw.
    """
    found, current = _read_seen(store, channel, seen_sequence)
    is_critical = current.critical if critical is None else critical
    if (current.rollout_percent, current.critical) != (rollout_percent, is_critical):
        changes = {"rollout_percent": rollout_percent, "critical": is_critical}
        _move(store, found, current, signing, now, move="delivery", **changes)
    write_model_infos(store, channel)
    after = read_channel(store, channel)
    return describe_release(store, after.current or current, after)


def renew_signature(store: Store, channel: str, signing: Signing, now: datetime | None = None) -> ChannelPointer | None:
    """Renew the signature of the present state, so that it does not expire; return it, or None if the channel has no release.

    The channel does not move. Raises `ReleaseError` if none of the keys signed the state, and `PointerMovedError` if another
    process moved the channel; its state is signed then.
    """
    found = read_channel(store, channel)
    if found.current is None:
        return None
    require_own_signature(found.current, signing)
    renewed = sign_state(found.current.copy_state(), signing, _choose_moment(now))
    move_channel(store, found, renewed)
    write_model_infos(store, channel)
    return renewed


def renew_all_signatures(store: Store, signing: Signing, now: datetime | None = None) -> list[ChannelPointer]:
    """Renew the signature of every channel's present state; return the states.

    Raises `ReleaseError` if a channel could not be renewed; the others are renewed all the same.
    """
    renewed: list[ChannelPointer] = []
    faults: list[ReleaseError] = []
    for name in list_channels(store):
        try:
            found = renew_signature(store, name, signing, now)
        except PointerMovedError:  # the move has signed it
            continue
        except ReleaseError as error:  # a damaged channel must not let the others expire
            faults.append(error)
            continue
        renewed += [] if found is None else [found]
    if faults:
        others = f"; renewed: {', '.join(each.channel for each in renewed) or 'none'}"
        raise ReleaseError(f"{'; '.join(map(str, faults))}{others}") from faults[0]
    return renewed


def _read_seen(store: Store, name: str, seen_sequence: int | None) -> tuple[Channel, ChannelPointer]:
    found = read_channel(store, name)
    if found.current is None:
        raise ReleaseError(f"channel {name} in {store.url} has no release yet; there is nothing to move")
    if seen_sequence not in (None, found.current.sequence):
        raise PointerMovedError(
            f"channel {name} is at move {found.current.sequence}, not at {seen_sequence} as it was seen; look again"
        )
    return found, found.current


def _move(
    store: Store, found: Channel, target: ChannelPointer, signing: Signing, now: datetime | None, **changes: Any
) -> None:
    require_own_signature(target, signing)
    current, moment = found.current, _choose_moment(now)
    content = target.copy_state(
        sequence=1 if current is None else current.sequence + 1,
        moved_at=moment,
        replaces=None if current is None else current.version,
        **changes,
    )
    move_channel(store, found, sign_state(content, signing, moment))


def _choose_moment(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def _find_release(channel: Channel, version: str) -> ChannelPointer:
    for each in reversed(channel.releases):
        if version in (each.version, each.model_version):
            return each
    known = ", ".join(each.version for each in channel.releases)
    raise ReleaseError(f"{version!r} was never released on channel {channel.name}; choose one of {known}")
