"""Erasing a contributor: tombstones first, then pointers, local files, and last what nothing names any more.

Every step can be cut short and is finished by running again: the tombstones say what must go, whatever is left of it.
Weights stay: what a model learned cannot be taken out of it, so the versions that heard the voice are named instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from habla_ml.consent.holdings import Holdings, Listeners, holdings_of, listeners_of
from habla_ml.consent.marks import Marks
from habla_ml.consent.register import Contributor
from habla_ml.consent.rewrite import Rewriting
from habla_ml.consent.sweep import find_remains, remove_remains, sweep_work_folder
from habla_ml.consent.tombstones import Erasure, Tombstones, add_tombstones, contributor_digest, read_tombstones
from habla_ml.corpus.build import load_corpus
from habla_ml.corpus.quality import keep_good_hours, load_good_hours
from habla_ml.corpus.snapshot import latest_snapshot
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.voices import voices_in_folder
from habla_ml.settings import Settings

ForgetTasks = Callable[[Collection[str]], int]
"""Removes the tasks (and served audio) of these segments from Label Studio; returns how many were there."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ErasurePlan:
    """What an erasure would do; nothing is changed by making one."""

    contributor: Contributor
    holdings: Holdings
    listeners: Listeners
    earlier: tuple[Erasure, ...]
    """What was erased of the same contributor before, or was begun."""
    in_folder: tuple[str, ...]
    """Sessions of Habla's own folder that hold their voice and are Habla's to delete."""


@dataclass(frozen=True)
class ErasureReport:
    """What an erasure did."""

    segments: int
    """Of this contributor, by all erasures."""
    hours: float
    heard: tuple[str, ...]
    """Model versions that were trained on the voice, by all erasures of this contributor."""
    tested: tuple[str, ...]
    pointers: tuple[str, ...]
    """Pointers that were moved."""
    objects: int
    """Objects that were deleted."""
    files: int
    """Local files and folders that were deleted."""
    tasks: int | None
    """Label Studio tasks that were deleted; None where no server was asked."""


def plan_erasure(lake: Lake, contributor: Contributor, settings: Settings, now: datetime) -> ErasurePlan:
    """Find what is theirs, in the lake and in Habla's folder."""
    folder = tuple(voices_in_folder(settings.recordings.folder, settings, now))
    holdings = holdings_of(lake, contributor, folder)
    theirs = {each.session_id for each in folder if each.session_id in holdings.sessions}
    theirs |= {
        each.session_id for each in folder if contributor.covers(each.session_id, each.speaker, each.segment_id)
    }
    return ErasurePlan(
        contributor,
        holdings,
        listeners_of(lake, holdings),
        read_tombstones(lake).of(contributor.contributor),
        tuple(sorted(theirs)),
    )


def erase(
    lake: Lake,
    plan: ErasurePlan,
    settings: Settings,
    now: datetime,
    forget_tasks: ForgetTasks | None = None,
    progress: Progress = lambda _: None,
) -> ErasureReport:
    """Erase what the plan found, and finish whatever an earlier erasure left unfinished.

    Raises:
        TrainingError: a training is running on this machine; the tombstones stand, run again when it has ended.
        LakeError: a pointer, an object or a file could not be rewritten or removed; run again.
    """
    held = plan.holdings
    erased = _bury(lake, plan, now)
    progress(f"tombstones stand for {len(erased.segments)} segments in all: nothing of them can come in again")
    tasks = None if forget_tasks is None else forget_tasks(sorted(erased.segments))
    names = frozenset(each.label for each in plan.contributor.speakers if each.sessions == ("*",))
    names |= {plan.contributor.contributor}
    marks = Marks(erased.segments, erased.sounds, names)
    rewriting = Rewriting(lake, marks, erased.objects, settings, frozenset(lake.object_ids()))
    moved = rewriting.move_all()
    _lower_good_hours(lake, held.days)
    progress(f"{len(moved)} pointers moved to content without them")
    files = sweep_work_folder(lake, settings.work_folder, marks)
    remains = find_remains(lake, marks, erased.objects, frozenset(rewriting.done.values()))
    objects = remove_remains(lake, remains)
    progress(f"{objects} objects and {files} local files deleted")
    all_of_them = erased.of(plan.contributor.contributor)
    return ErasureReport(
        segments=sum(each.segments for each in all_of_them),
        hours=round(sum(each.hours for each in all_of_them), 9),
        heard=_all(each.heard for each in all_of_them),
        tested=_all(each.tested for each in all_of_them),
        pointers=tuple(moved),
        objects=objects,
        files=files,
        tasks=tasks,
    )


def _bury(lake: Lake, plan: ErasurePlan, now: datetime) -> Tombstones:
    """Write the tombstones; what an erasure of theirs that was cut short has counted is not counted twice.

    Others' tombstones, as those of an ingest that turned a withdrawn voice away, counted nothing.
    """
    before, held = read_tombstones(lake), plan.holdings
    counted = before.segments if plan.earlier else frozenset()
    new = {name: seconds for name, seconds in held.durations_s.items() if name not in counted}
    if not new:
        return add_tombstones(lake, held.withheld, held.sounds, held.streams)
    erasure = Erasure(
        contributor_digest(plan.contributor.contributor),
        now.astimezone(UTC).isoformat(timespec="seconds"),
        len(new),
        round(sum(new.values()) / 3600, 9),
        plan.listeners.heard,
        plan.listeners.tested,
    )
    return add_tombstones(lake, {*new, *held.withheld}, held.sounds, held.streams, erasure)


def _lower_good_hours(lake: Lake, days: Collection[str]) -> None:
    """Let the check on vanished hours know that these days lost theirs on purpose."""
    known = load_good_hours(lake)
    if known is None or lake.pointer(catalogue.SPLITS) is None:
        return
    texts = {day: load_corpus(lake, day) for day in days if day in known}
    lowered = {day: min(known[day], text.hours) for day, text in texts.items() if text is not None}
    kept = {day: hours for day, hours in {**known, **lowered}.items() if hours > 0}
    keep_good_hours(lake, latest_snapshot(lake), kept)


def _all(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({version for each in lists for version in each}))
