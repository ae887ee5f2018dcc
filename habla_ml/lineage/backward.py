"""From a release or a model version back to its snapshots, sessions and segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.snapshot import SPLITS, Split
from habla_ml.corpus.snapshot_uses import PURPOSE_SPLITS, find_snapshot_uses
from habla_ml.errors import InputError
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lineage.node import Detail, LineageBounds, LineageNode, ReadCost
from habla_ml.lineage.releases import (
    ChannelRelease,
    build_release_leaves,
    describe_manifest,
    list_channel_releases,
)
from habla_ml.lineage.session_names import show_session
from habla_ml.lineage.snapshot_rows import load_present_snapshot, read_snapshot_rows
from habla_ml.release.manifest import ReleaseManifest
from habla_ml.training.continuations import read_continuations
from habla_ml.training.record import TrainingRecord, read_training_record

_SplitsBySnapshot = Mapping[str, Iterable[Split]]


def trace_version(lake: Lake, releases: Store, version: str, bounds: LineageBounds, cost: ReadCost) -> LineageNode:
    """Return the tree of a model version: its snapshots with their sessions, and its releases.

    Raises `InputError` if the lake has no such version.
    """
    uses = find_snapshot_uses(lake, version)
    if not uses:
        known = ", ".join(catalogue.PLAN.keys(lake)) or "none"
        raise InputError(f"model version {version} has no plan and no report in {lake.url}; choose one of: {known}")
    splits: dict[str, list[Split]] = defaultdict(list)
    for use in uses:
        splits[use.snapshot] += PURPOSE_SPLITS[use.purpose]
    record = read_training_record(lake, version)
    below = (
        *_build_snapshots(lake, splits, bounds, cost),
        *_build_parents(lake, version, bounds, cost),
        *build_release_leaves(list_channel_releases(releases), version),
    )
    return LineageNode("version", version, {} if record is None else _describe_record(record), below)


def trace_release(
    lake: Lake, releases: Store, name: str, bounds: LineageBounds, cost: ReadCost
) -> tuple[LineageNode, ...]:
    """Return a tree for each manifest of this name, with the channels that released it.

    The manifest decides which snapshot belongs to the release, also where the version was trained again since.

    Raises:
        InputError: No channel released it.
        ReleaseError: A manifest is missing or damaged.
    """
    listed = list_channel_releases(releases)
    found: dict[str, list[ChannelRelease]] = defaultdict(list)
    for each in listed:
        if each.state.version == name:
            found[each.state.manifest_sha256].append(each)
    if not found:
        known = ", ".join(sorted({each.state.version for each in listed})) or "none"
        raise InputError(f"no channel in {releases.url} released {name}; choose one of: {known}")
    return tuple(_build_release(lake, releases, each, bounds, cost) for each in found.values())


def _build_release(
    lake: Lake, store: Store, found: list[ChannelRelease], bounds: LineageBounds, cost: ReadCost
) -> LineageNode:
    state = found[0].state
    manifest, described = describe_manifest(store, state)
    details: dict[str, Detail] = {
        "channels": [each.state.channel for each in found],
        "is_current_on": [each.state.channel for each in found if each.is_current],
        "released_at": f"{state.released_at:%Y-%m-%dT%H:%M:%SZ}",
        "manifest": state.manifest_key,
        **described,
    }
    splits: dict[str, list[Split]] = defaultdict(list)
    splits[manifest.training.snapshot] += PURPOSE_SPLITS["training"]
    splits[manifest.evaluation.snapshot] += PURPOSE_SPLITS["evaluation"]
    for use in find_snapshot_uses(lake, state.model_version):
        if use.purpose == "sealed evaluation":
            splits[use.snapshot] += PURPOSE_SPLITS[use.purpose]
    below = (
        *_build_snapshots(lake, splits, bounds, cost),
        *_build_parents(lake, state.model_version, bounds, cost),
    )
    version = LineageNode("version", state.model_version, _describe_training(manifest), below)
    return LineageNode("release", state.version, details, (version,))


def _build_parents(lake: Lake, version: str, bounds: LineageBounds, cost: ReadCost) -> Iterable[LineageNode]:
    """Yield the versions whose weights a version continues from, over all steps, with what they were trained on."""
    parents, waiting, seen = read_continuations(lake).parents, [version], {version}
    while waiting:
        child = waiting.pop()
        for parent in parents.get(child, ()):
            if parent in seen:
                continue
            seen.add(parent)
            waiting.append(parent)
            splits = {
                use.snapshot: PURPOSE_SPLITS[use.purpose]
                for use in find_snapshot_uses(lake, parent)
                if use.purpose == "training"
            }
            details: dict[str, Detail] = {"is_continued_by": child}
            yield LineageNode("version", parent, details, tuple(_build_snapshots(lake, splits, bounds, cost)))


def _describe_training(manifest: ReleaseManifest) -> dict[str, Detail]:
    training, base = manifest.training, manifest.base_model
    return {
        "checkpoint": training.checkpoint,
        "record": training.record,
        "recipe": training.recipe,
        "base_model": f"{base.name}@{base.revision or base.digest or 'by content'}",
        "hours": training.hours,
        "trained_by_code": [str(each) for each in training.code],
    }


def _describe_record(record: TrainingRecord) -> dict[str, Detail]:
    return {
        "checkpoint": record.tree,
        "recipe": record.recipe,
        "seed": record.identity.seed,
        "base_model": f"{record.base_model}@{record.base_model_revision or record.identity.base_model}",
        "first_stage": None if record.first_stage is None else record.first_stage.tree,
        "continued_from": None if record.start is None else f"{record.start.repository}@{record.start.revision}",
        "hours": record.train_hours,
        "trained_by_code": [str(each) for each in record.code],
    }


def _build_snapshots(
    lake: Lake, splits: _SplitsBySnapshot, bounds: LineageBounds, cost: ReadCost
) -> Iterable[LineageNode]:
    """Yield each snapshot with the sessions of the splits that were read."""
    for snapshot_id, read in splits.items():
        used = [split for split in SPLITS if split in set(read)]
        snapshot = load_present_snapshot(lake, snapshot_id)
        if snapshot is None:
            yield LineageNode("snapshot", snapshot_id, {"splits": used, "is_erased": True})
            continue
        sessions: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for rows in read_snapshot_rows(lake, snapshot, ["day", "session_id", "split"], None, cost):
            for day, session, split, count in _count_rows(rows, used):
                sessions[day, session][split] += count
        listed = sorted(sessions)[: bounds.most_sessions]
        segments = _list_segments(lake, snapshot_id, listed, used, cost) if bounds.with_segments else {}
        details: dict[str, Detail] = {
            "splits": used,
            "conventions": snapshot.conventions,
            "sessions": len(sessions),
            "sessions_listed": len(listed),
        }
        below = tuple(
            LineageNode("session", show_session(each[1]), {"day": each[0], **sessions[each]}, segments.get(each, ()))
            for each in listed
        )
        yield LineageNode("snapshot", snapshot_id, details, below)


def _count_rows(rows: pa.Table, splits: list[Split]) -> Iterable[tuple[str, str, str, int]]:
    """Yield day, session, split and number of segments."""
    used = rows.filter(pc.is_in(rows["split"], value_set=pa.array(splits, pa.string())))
    counted = used.group_by(["day", "session_id", "split"]).aggregate([([], "count_all")])
    columns = (counted[name].to_pylist() for name in ("day", "session_id", "split", "count_all"))
    return zip(*columns, strict=True)


def _list_segments(
    lake: Lake, snapshot_id: str, sessions: list[tuple[str, str]], splits: list[Split], cost: ReadCost
) -> dict[tuple[str, str], tuple[LineageNode, ...]]:
    """Return the segments of these sessions, from a second look at their days."""
    snapshot = load_present_snapshot(lake, snapshot_id)
    found: dict[tuple[str, str], list[LineageNode]] = {each: [] for each in sessions}
    columns = ["day", "session_id", "segment_id", "split"]
    days = {day for day, _ in sessions}
    for rows in () if snapshot is None else read_snapshot_rows(lake, snapshot, columns, days, cost):
        for row in rows.to_pylist():
            if row["split"] in splits and (key := (row["day"], row["session_id"])) in found:
                found[key].append(LineageNode("segment", row["segment_id"], {"split": row["split"]}))
    return {key: tuple(nodes) for key, nodes in found.items()}
