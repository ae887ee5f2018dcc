"""Erasing a contributor: tombstones first, then pointers, local files, and last what nothing names any more.

Every step can be cut short and is finished by running again: the tombstones say what must go, whatever is left of it.
Weights stay: what a model learned cannot be taken out of it, so the versions that heard the voice are named instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES
from habla_ml.consent.register import Contributor
from habla_ml.consent.tombstones import Erasure, Tombstones, add_tombstones, digest_contributor, read_tombstones
from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.quality import load_baseline_hours, save_baseline_hours
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.erasure.contributor_data import (
    AffectedVersions,
    ContributorData,
    find_affected_versions,
    find_contributor_data,
)
from habla_ml.erasure.matcher import ErasureMatcher
from habla_ml.erasure.orphans import clean_work_folder, delete_orphans, find_orphans
from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.folder_segments import read_folder_segments
from habla_ml.settings import Settings

ReportProgress = Callable[[str], None]


@dataclass(frozen=True)
class ErasurePlan:
    """What an erasure would do; nothing is changed by making one."""

    contributor: Contributor
    contributor_data: ContributorData
    affected_versions: AffectedVersions
    earlier_erasures: tuple[Erasure, ...]
    """What was erased of the same contributor before, or was begun."""
    sessions_in_folder: tuple[str, ...]
    """Sessions of Habla's own folder that hold their voice and are Habla's to delete."""


@dataclass(frozen=True)
class ErasureReport:
    """What an erasure did."""

    segments: int
    """Of this contributor, by all erasures."""
    hours: float
    trained_versions: tuple[str, ...]
    """Model versions that were trained on the voice, by all erasures of this contributor."""
    evaluated_versions: tuple[str, ...]
    moved_pointers: tuple[str, ...]
    """Pointers that were moved."""
    objects: int
    """Objects that were deleted."""
    files: int
    """Local files and folders that were deleted."""
    left_to_person: tuple[str, ...]
    """What annotation sources keep and only a person can delete, one sentence each."""


def plan_erasure(lake: Lake, contributor: Contributor, settings: Settings, now: datetime) -> ErasurePlan:
    """Find what is theirs, in the lake and in Habla's folder."""
    folder = tuple(read_folder_segments(settings.recordings.folder, settings, now))
    holdings = find_contributor_data(lake, contributor, folder)
    theirs = {each.session_id for each in folder if each.session_id in holdings.sessions}
    theirs |= {
        each.session_id for each in folder if contributor.covers(each.session_id, each.speaker, each.segment_id)
    }
    return ErasurePlan(
        contributor,
        holdings,
        find_affected_versions(lake, holdings),
        read_tombstones(lake).find_erasures(contributor.contributor),
        tuple(sorted(theirs)),
    )


def erase(
    lake: Lake,
    plan: ErasurePlan,
    settings: Settings,
    now: datetime,
    progress: ReportProgress = lambda _: None,
) -> ErasureReport:
    """Erase what the plan found, and finish whatever an earlier erasure left unfinished.

    Raises:
        TrainingError: a training is running on this machine; the tombstones stand, run again when it has ended.
        LakeError: a pointer, an object or a file could not be rewritten or removed; run again.
    """
    held = plan.contributor_data
    erased = _write_tombstones(lake, plan, now)
    progress(f"tombstones stand for {len(erased.segments)} segments in all: nothing of them can come in again")
    forgotten = [each.forget(SourceContext(lake, settings, now), erased.segments) for each in SOURCES]
    for each in forgotten:
        if each.deleted:
            progress(f"{each.deleted} deleted")
    names = frozenset(each.label for each in plan.contributor.speakers if each.sessions == ("*",))
    names |= {plan.contributor.contributor}
    matcher = ErasureMatcher(erased.segments, erased.sounds, names)
    rewriter = PointerRewriter(lake, matcher, erased.objects, settings, frozenset(lake.list_object_ids()))
    moved = rewriter.rewrite_all()
    _lower_baseline_hours(lake, held.days)
    progress(f"{len(moved)} pointers moved to content without them")
    files = clean_work_folder(lake, settings.work_folder, matcher)
    orphans = find_orphans(lake, matcher, erased.objects, frozenset(rewriter.rewritten.values()))
    objects = delete_orphans(lake, orphans)
    progress(f"{objects} objects and {files} local files deleted")
    all_of_them = erased.find_erasures(plan.contributor.contributor)
    return ErasureReport(
        segments=sum(each.segments for each in all_of_them),
        hours=round(sum(each.hours for each in all_of_them), 9),
        trained_versions=_merge_versions(each.heard for each in all_of_them),
        evaluated_versions=_merge_versions(each.tested for each in all_of_them),
        moved_pointers=tuple(moved),
        objects=objects,
        files=files,
        left_to_person=tuple(step for each in forgotten for step in each.left_to_person),
    )


def _write_tombstones(lake: Lake, plan: ErasurePlan, now: datetime) -> Tombstones:
    """Write the tombstones; what an erasure of theirs that was cut short has counted is not counted twice.

    Others' tombstones, as those of an ingest that turned a withdrawn voice away, counted nothing.
    """
    before, held = read_tombstones(lake), plan.contributor_data
    counted = before.segments if plan.earlier_erasures else frozenset()
    new = {name: seconds for name, seconds in held.durations_s.items() if name not in counted}
    if not new:
        return add_tombstones(lake, held.withheld, held.sounds, held.streams)
    erasure = Erasure(
        digest_contributor(plan.contributor.contributor),
        now.astimezone(UTC).isoformat(timespec="seconds"),
        len(new),
        round(sum(new.values()) / 3600, 9),
        plan.affected_versions.trained,
        plan.affected_versions.evaluated,
    )
    return add_tombstones(lake, {*new, *held.withheld}, held.sounds, held.streams, erasure)


def _lower_baseline_hours(lake: Lake, days: Collection[str]) -> None:
    """Let the check on vanished hours know that these days lost theirs on purpose."""
    known = load_baseline_hours(lake)
    if known is None or lake.read_pointer(catalogue.SPLITS) is None:
        return
    texts = {day: load_corpus_day(lake, day) for day in days if day in known}
    lowered = {day: min(known[day], text.hours) for day, text in texts.items() if text is not None}
    kept = {day: hours for day, hours in {**known, **lowered}.items() if hours > 0}
    save_baseline_hours(lake, load_latest_snapshot(lake), kept)


def _merge_versions(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({version for each in lists for version in each}))
