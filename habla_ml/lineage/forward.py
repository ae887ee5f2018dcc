"""From a session or a segment to every snapshot, model version and release that used it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.hub_dataset.pushes import list_hub_datasets
from habla_ml.corpus.snapshot import OPEN_SPLITS, SPLITS, Snapshot
from habla_ml.corpus.snapshot_uses import PURPOSE_SPLITS, SnapshotUse, list_snapshot_uses
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lineage.node import Detail, Kind, LineageBounds, LineageNode, ReadCost
from habla_ml.lineage.recorded_segments import FoundRecordings, find_recordings
from habla_ml.lineage.releases import ChannelRelease, build_release_leaves, list_channel_releases
from habla_ml.lineage.snapshot_rows import load_present_snapshot, read_snapshot_rows
from habla_ml.model_version import is_subset_run
from habla_ml.training.continuations import Continuations, read_continuations


def trace_recording(
    lake: Lake, releases: Store, kind: Kind, name: str, bounds: LineageBounds, cost: ReadCost
) -> LineageNode:
    """Return the tree of a session or a segment.

    A segment counts by its id and by its sound, since a snapshot keeps one recording of each sound. The newest snapshot
    is in the tree even if no version uses it yet, and so are snapshots on the Hub.

    Raises `InputError` if the recording is not found.
    """
    found = find_recordings(lake, kind, name, bounds, cost)
    uses: dict[str, list[SnapshotUse]] = defaultdict(list)
    for use in list_snapshot_uses(lake):
        uses[use.snapshot].append(use)
    newest = lake.read_pointer(catalogue.SPLITS)
    newest_id = None if newest is None else str(newest.value["snapshot"])
    pushed = _list_pushes(lake)
    snapshots = dict.fromkeys([*uses, *pushed, *([newest_id] if newest_id else [])])
    led_to = VersionLinks(list_channel_releases(releases), read_continuations(lake))
    below = []
    for each in snapshots:
        snapshot = load_present_snapshot(lake, each)
        counts = Counter[str]() if snapshot is None else _count_by_split(lake, snapshot, found, bounds, cost)
        if counts.total():
            versions = _build_versions(uses[each], counts, led_to)
            details: dict[str, Detail] = {"is_newest": each == newest_id, **_order(counts)}
            # The sealed share is never pushed.
            on_hub = pushed.get(each, []) if any(counts[split] for split in OPEN_SPLITS) else []
            below.append(LineageNode("snapshot", each, details, (*versions, *on_hub)))
    return LineageNode(kind, found.id, _describe(found), tuple(below))


def _list_pushes(lake: Lake) -> dict[str, list[LineageNode]]:
    """Return snapshot → what the Hub has of it; an unfinished push counts, since parts of it can be there."""
    found: dict[str, list[LineageNode]] = defaultdict(list)
    for dataset in list_hub_datasets(lake):
        for push in dataset.pushes:
            details: dict[str, Detail] = {
                "repository": dataset.repository,
                "commit": push.commit,
                "is_unfinished": push.commit is None,
                "is_to_be_erased": push.is_withdrawn,
            }
            found[push.snapshot].append(LineageNode("hub dataset", push.tag, details))
    return found


def _count_by_split(
    lake: Lake, snapshot: Snapshot, found: FoundRecordings, bounds: LineageBounds, cost: ReadCost
) -> Counter[str]:
    """Return the number of these segments, or of other recordings of their sounds, by split."""
    segments, sounds = (pa.array(sorted(each), pa.string()) for each in (found.segments, found.sounds))
    counts: Counter[str] = Counter()
    days = None if bounds.with_copies else found.days
    for rows in read_snapshot_rows(lake, snapshot, ["day", "segment_id", "audio_sha256", "split"], days, cost):
        is_meant = pc.or_(
            pc.is_in(rows["segment_id"], value_set=segments), pc.is_in(rows["audio_sha256"], value_set=sounds)
        )
        counts.update(each or "no split" for each in rows.filter(is_meant)["split"].to_pylist())
    return counts


def _build_versions(uses: list[SnapshotUse], counts: Mapping[str, int], led_to: VersionLinks) -> Iterator[LineageNode]:
    """Yield the versions that read a split with these segments."""
    read: dict[str, dict[str, int]] = defaultdict(dict)
    for use in uses:
        read[use.version] |= {each: counts[each] for each in PURPOSE_SPLITS[use.purpose] if counts.get(each)}
    for version, splits in sorted(read.items()):
        if splits:
            details: dict[str, Detail] = dict(_order(splits))
            if is_subset_run(version):
                details["trains_on_a_share_of_the_sessions"] = True
            # What only tested a version is not in its weights.
            below = led_to.build_nodes(version, with_continued=bool(splits.keys() & set(PURPOSE_SPLITS["training"])))
            yield LineageNode("version", version, details, below)


@dataclass(frozen=True)
class VersionLinks:
    """What a model version led to."""

    released: list[ChannelRelease]
    continuations: Continuations

    def build_nodes(
        self, version: str, with_continued: bool, seen: frozenset[str] = frozenset()
    ) -> tuple[LineageNode, ...]:
        """Return the releases of a version and, below them, the versions that continue from it."""
        children = self.continuations.find_children(version) if with_continued else []
        passed = seen | {version}
        return (
            *build_release_leaves(self.released, version),
            *(
                LineageNode("version", child, {"continues_from": version}, self.build_nodes(child, True, passed))
                for child in children
                if child not in passed
            ),
        )


def _describe(found: FoundRecordings) -> dict[str, Detail]:
    details: dict[str, Detail] = {
        "days": list(found.days),
        "sources": list(found.sources),
        "segments": len(found.segments),
        "minutes": round(found.seconds / 60, 3),
    }
    return details if found.kind == "session" else {"session": found.session, **details}


def _order(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts in the order of the splits."""
    return {name: counts[name] for name in (*SPLITS, "no split") if counts.get(name)}
