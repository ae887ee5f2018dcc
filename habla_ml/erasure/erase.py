"""Erase a contributor: tombstones, what the service received, pointers, local files, orphaned objects, and last the Hub.

Every step can be interrupted; the next run finishes it, because the tombstones list what to erase. Weights stay, since
a voice cannot be removed from a model. The report lists the model versions that used it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES
from habla_ml.annotation.sources.habla import list_segments_in_folder
from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import Contributor
from habla_ml.consent.tombstones import (
    Erasure,
    Tombstones,
    add_tombstones,
    digest_contributor,
    mark_applied,
    read_tombstones,
)
from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.quality import load_baseline_hours, save_baseline_hours
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.erasure.contributor_data import (
    AffectedVersions,
    ContributorData,
    find_affected_versions,
    find_contributor_data,
    learn_audio,
)
from habla_ml.erasure.hub_datasets import erase_from_hub, find_hub_datasets, mark_withdrawn_pushes
from habla_ml.erasure.matcher import ErasureMatcher
from habla_ml.erasure.orphans import clean_work_folder, delete_orphans, find_orphans
from habla_ml.erasure.received_clips import (
    erase_received_clips,
    find_received_clips,
    find_withdrawn_contributors,
    finish_withdrawals,
    purge_database,
    read_unread_answers,
    withdraw,
)
from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.erasure.table_index import TableIndex, load_index
from habla_ml.erasure.unfinished_trainings import discard_affected_trainings
from habla_ml.errors import ServiceError
from habla_ml.lake import Lake, catalogue
from habla_ml.names import canonical_name
from habla_ml.settings import Settings


@dataclass(frozen=True)
class ErasurePlan:
    """What an erasure will do."""

    contributor: Contributor
    contributor_data: ContributorData
    affected_versions: AffectedVersions
    received_clips: int
    """Clips of the contributor that the service keeps."""
    hub_datasets: tuple[str, ...]
    """Repositories of the Hub that have the voice."""
    earlier_erasures: tuple[Erasure, ...]
    """Earlier erasures of the same contributor, including unfinished ones."""
    index: TableIndex = field(compare=False, repr=False)
    """Index of the lake, with what the search learned."""


@dataclass(frozen=True)
class ErasureReport:
    """Result of an erasure."""

    segments: int
    """Segments erased by all erasures of these contributors."""
    hours: float
    trained_versions: tuple[str, ...]
    """Model versions that were trained on the voice, from all erasures of these contributors."""
    evaluated_versions: tuple[str, ...]
    received_clips: int
    """Clips that this run erased in the service."""
    moved_pointers: tuple[str, ...]
    objects: int
    """Deleted objects."""
    files: int
    """Deleted local files and folders."""
    left_to_person: tuple[str, ...]
    """Data in annotation sources that only a person can delete, one sentence each."""
    hub_datasets: tuple[str, ...]
    """Repositories of the Hub from which this run removed the voice, with its history."""
    pending: tuple[str, ...]
    """Repositories of the Hub that can still have it, one sentence each. The erasure is not finished."""


def plan_erasure(
    lake: Lake, contributor: Contributor, settings: Settings, now: datetime, index: TableIndex | None = None
) -> ErasurePlan:
    """Find the contributor's data in the lake, in the service and in Habla's folder, without changing anything.

    Plans that are erased together share an `index`, so that each table is read once.
    """
    index = load_index(lake) if index is None else index
    folder = list_segments_in_folder(SourceContext(lake, settings, now))
    data = find_contributor_data(lake, contributor, folder, read_unread_answers(settings), index)
    clips = find_received_clips(settings, contributor, data.segments)
    # A clip that is no segment yet can be on its way into the lake.
    unread = {each.segment_id for each in clips} - data.segments - read_tombstones(lake).segments
    data = replace(data, withheld=data.withheld | unread)
    earlier = read_tombstones(lake).find_erasures(contributor.contributor)
    pushed = find_hub_datasets(lake, data.segments, data.sounds)
    affected = find_affected_versions(lake, data, index)
    return ErasurePlan(contributor, data, affected, len(clips), pushed, earlier, index)


def erase(
    lake: Lake, plan: ErasurePlan, settings: Settings, now: datetime, progress: Callable[[str], None] = lambda _: None
) -> ErasureReport:
    """Erase the contributor of a plan, and finish earlier erasures; raises the errors of `erase_together`.

    Recordings can have come since the plan, which a person read. So nothing more may come first, and then it is made again.
    """
    withdraw(settings, [plan.contributor], now)
    present = plan_erasure(lake, plan.contributor, settings, now, plan.index)
    return erase_together(lake, [present], settings, now, progress)


def erase_withdrawn(
    lake: Lake, settings: Settings, now: datetime, progress: Callable[[str], None] = lambda _: None
) -> tuple[int, ErasureReport | None]:
    """Erase all contributors who withdrew in the service, and finish erasures on the Hub; return their number and the report.

    Raises `InputError` if the register cannot be read, the errors of `erase_together`, and `ServiceError` if the Hub can
    still have a voice.
    """
    contributors = find_withdrawn_contributors(settings, now)
    index = load_index(lake)
    plans = [plan_erasure(lake, each, settings, now, index) for each in contributors]
    report = erase_together(lake, plans, settings, now, progress) if plans else None
    pending = report.pending if report is not None else erase_from_hub(lake, settings, progress).pending
    if pending:
        raise ServiceError("; ".join(pending))
    return len(plans), report


def erase_together(
    lake: Lake,
    plans: Sequence[ErasurePlan],
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None] = lambda _: None,
) -> ErasureReport:
    """Erase contributors with one index in one pass over the lake, then on the Hub, and finish earlier erasures.

    The service keeps the withdrawals as unfinished while the Hub can still have a voice.

    Raises:
        TrainingError: A training is running on this machine, or a training of the voice on another one. The tombstones are
            written; run again when it has ended.
        LakeError: A pointer, an object or a file cannot be rewritten or removed. Run again.
    """
    contributors = [each.contributor for each in plans]
    withdraw(settings, contributors, now)
    for each in plans:
        _write_tombstones(lake, each, now)
    erased = read_tombstones(lake)
    mark_withdrawn_pushes(lake, erased)  # before the lake loses what tells which pushes have the voice
    progress(f"{len(erased.segments)} segments have a tombstone and cannot enter the lake again")
    clips = erase_received_clips(settings, contributors, erased.segments, now)
    if clips:
        progress(f"{clips} clips deleted that the service had received")
    forgotten = [each.forget(SourceContext(lake, settings, now), erased.segments) for each in SOURCES]
    for report in forgotten:
        if report.deleted:
            progress(f"{report.deleted} deleted")
    purge_database(settings)  # last, because it also overwrites the rows that the sources deleted
    index, matcher = plans[0].index, ErasureMatcher(erased.segments, erased.sounds, _list_names(contributors))
    rewriter = _make_rewriter(lake, matcher, erased, settings, index)
    moved = rewriter.rewrite_all()
    _lower_baseline_hours(lake, {day for each in plans for day in each.contributor_data.days})
    mark_applied(lake, erased)
    progress(f"{len(moved)} pointers moved to content without these segments")
    if trainings := discard_affected_trainings(lake, rewriter):
        progress(f"{trainings} unfinished trainings deleted that used the voice; they begin again without it")
    files = clean_work_folder(lake, settings.work_folder, matcher, rewriter)
    orphans = find_orphans(lake, matcher, erased.objects, frozenset(rewriter.rewritten.values()), index)
    objects = delete_orphans(lake, orphans, index)
    progress(f"{objects} objects and {files} local files deleted")
    on_hub = erase_from_hub(lake, settings, progress)
    if not on_hub.pending:
        finish_withdrawals(settings, contributors, now)
    erasures = {each for contributor in contributors for each in erased.find_erasures(contributor.contributor)}
    return ErasureReport(
        segments=sum(each.segments for each in erasures),
        hours=round(sum(each.hours for each in erasures), 9),
        trained_versions=tuple(sorted({version for each in erasures for version in each.trained})),
        evaluated_versions=tuple(sorted({version for each in erasures for version in each.evaluated})),
        received_clips=clips,
        moved_pointers=tuple(moved),
        objects=objects,
        files=files,
        left_to_person=tuple(step for each in forgotten for step in each.left_to_person),
        hub_datasets=on_hub.cleaned,
        pending=on_hub.pending,
    )


def reapply_tombstones(lake: Lake, settings: Settings, now: datetime) -> tuple[int, int]:
    """Remove from a restored lake what was erased after its backup; return the numbers of moved pointers and deleted objects.

    Only the lake is changed. The names of erased contributors are replaced where the register still has them. Run again
    after a crash. Raises `LakeError` if a pointer or an object cannot be rewritten, and the errors of `load_consents`.
    """
    erased = read_tombstones(lake)
    register = load_consents(settings, now).register
    contributors = [each for each in register.contributors if erased.find_erasures(each.contributor)]
    index, matcher = load_index(lake), ErasureMatcher(erased.segments, erased.sounds, _list_names(contributors))
    learn_audio(lake, index)
    rewriter = _make_rewriter(lake, matcher, erased, settings, index)
    moved = rewriter.rewrite_all()
    _lower_baseline_hours(lake, {day for name in moved for day in catalogue.CORPUS.parts(name) or ()})
    orphans = find_orphans(lake, matcher, erased.objects, frozenset(rewriter.rewritten.values()), index)
    deleted = delete_orphans(lake, orphans, index)
    mark_applied(lake, erased)
    return len(moved), deleted


def _make_rewriter(
    lake: Lake, matcher: ErasureMatcher, erased: Tombstones, settings: Settings, index: TableIndex
) -> PointerRewriter:
    """Let the index learn everything in the lake, and return a rewriter that reads what it cannot exclude."""
    sizes_bytes = {each.sha256: each.size_bytes for each in lake.list_objects()}
    index.learn(sizes_bytes)
    clean = index.find_clean(matcher)
    return PointerRewriter(lake, matcher, erased.objects, settings, frozenset(sizes_bytes), clean)


def _list_names(contributors: Iterable[Contributor]) -> frozenset[str]:
    """Return the names that an erasure replaces by an alias; a label of single sessions can be another person's too."""
    labels = (voice.label for each in contributors for voice in each.speakers if voice.sessions == ("*",))
    return frozenset(map(canonical_name, (*(each.contributor for each in contributors), *labels)))


def _write_tombstones(lake: Lake, plan: ErasurePlan, now: datetime) -> None:
    """Write the tombstones, and count each segment once even after an interrupted erasure.

    Tombstones of an ingest that refused a withdrawn voice are not counted yet.
    """
    data = plan.contributor_data
    counted = read_tombstones(lake).segments if plan.earlier_erasures else frozenset()
    new = {name: seconds for name, seconds in data.durations_s.items() if name not in counted}
    if not new:
        add_tombstones(lake, data.withheld, data.sounds, data.streams)
        return
    erasure = Erasure(
        digest_contributor(plan.contributor.contributor),
        now.astimezone(UTC).isoformat(timespec="seconds"),
        len(new),
        round(sum(new.values()) / 3600, 9),
        plan.affected_versions.trained,
        plan.affected_versions.evaluated,
        plan.hub_datasets,
    )
    add_tombstones(lake, {*new, *data.withheld}, data.sounds, data.streams, erasure)


def _lower_baseline_hours(lake: Lake, days: Collection[str]) -> None:
    """Lower the expected hours of these days, so that the check on missing hours does not fail."""
    known = load_baseline_hours(lake)
    if known is None or lake.read_pointer(catalogue.SPLITS) is None:
        return
    texts = {day: load_corpus_day(lake, day) for day in days if day in known}
    lowered = {day: min(known[day], text.hours) for day, text in texts.items() if text is not None}
    kept = {day: hours for day, hours in {**known, **lowered}.items() if hours > 0}
    save_baseline_hours(lake, load_latest_snapshot(lake), kept)
