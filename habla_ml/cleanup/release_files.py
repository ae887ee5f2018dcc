"""Archives and manifests in the release store that no channel ever named: left by a publish that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from habla_ml.cleanup.leftover import Leftover, LeftoverGroup
from habla_ml.lake import Store
from habla_ml.lake.store import StoreEntry
from habla_ml.release.channel import read_channel
from habla_ml.release.manifest import read_manifest


def find_unreleased_files(store: Store, now: datetime, grace: timedelta) -> LeftoverGroup:
    """Return the files of releases that no state of a channel names, with the errors of `read_channel`.

    A publish that runs, or runs again, renews its files, so that they stay.
    """
    stored = list(store.list("releases/"))
    named = set(_list_named_keys(store))  # read after the listing: a file that is named meanwhile stays
    unnamed = [each for each in stored if each.key not in named]
    due = [each for each in unnamed if each.modified_at < now - grace]
    return LeftoverGroup(
        "release files that no channel names",
        tuple(_make_leftover(store, each, now - grace) for each in due),
        len(unnamed) - len(due),
        sum(each.size_bytes for each in unnamed) - sum(each.size_bytes for each in due),
    )


def _list_named_keys(store: Store) -> Iterator[str]:
    for channel in sorted({each.key.split("/")[1] for each in store.list("channels/")}):
        for state in read_channel(store, channel).states:
            yield state.manifest_key
            yield from (each.key for each in read_manifest(store, state.manifest_key).archives)


def _make_leftover(store: Store, entry: StoreEntry, unmodified_since: datetime) -> Leftover:
    return Leftover(entry.key, entry.size_bytes, lambda: store.delete(entry.key, unmodified_since))
