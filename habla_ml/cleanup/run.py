"""Find the leftovers of a deployment, and remove those whose grace period has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from habla_ml.cleanup.leftover import LeftoverGroup
from habla_ml.cleanup.release_files import find_unreleased_files
from habla_ml.cleanup.superseded_objects import find_superseded_objects
from habla_ml.cleanup.unfinished_trainings import find_abandoned_trainings
from habla_ml.cleanup.work_folder import find_abandoned_scratch, find_finished_trainings, find_unused_artefacts
from habla_ml.errors import HablaError
from habla_ml.inbox.clip_files import get_incoming_folder, open_clip_store
from habla_ml.inbox.clips import sweep_clip_files, sweep_incoming
from habla_ml.inbox.database import open_existing_database
from habla_ml.lake import Lake, Store
from habla_ml.settings import Settings
from habla_ml.tables import TextTable


@dataclass(frozen=True)
class CleanupReport:
    """What a cleanup found, and what it removed."""

    groups: tuple[LeftoverGroup, ...]
    removed: int
    """Number of removed leftovers; 0 for a dry run."""
    removed_bytes: int
    problems: tuple[str, ...]
    """Faults that stopped a part of the cleanup; the other parts went on."""


def clean_up(lake: Lake, release_store: Store, settings: Settings, now: datetime, *, delete: bool) -> CleanupReport:
    """Find all leftovers, and remove those that are due if `delete` is set.

    A fault of one kind, such as a release store that cannot be reached, becomes a problem of the report.
    """
    groups = tuple(_find_groups(lake, release_store, settings, now, mark=delete))
    problems = [f"{each.kind}: {each.problem}" for each in groups if each.problem]
    removed, removed_bytes = 0, 0
    for each in (leftover for group in groups for leftover in group.due if delete):
        try:
            if each.remove():
                removed += 1
                removed_bytes += each.size_bytes
        except HablaError as error:
            problems.append(str(error))
    if delete:
        problems += _remove_unlisted(lake, release_store, settings, now - _get_grace(settings))
    return CleanupReport(groups, removed, removed_bytes, tuple(problems))


def tabulate_groups(groups: tuple[LeftoverGroup, ...], grace_days: float) -> TextTable:
    """Return number and size of what is due and what waits for the grace period, by kind."""
    columns = ["what", "due", f"waits {grace_days:g} days"]
    cells = (
        [each.kind, _format_amount(len(each.due), each.due_bytes), _format_amount(each.waiting, each.waiting_bytes)]
        for each in groups
    )
    return TextTable.of("", columns, cells)


def _find_groups(
    lake: Lake, release_store: Store, settings: Settings, now: datetime, *, mark: bool
) -> Iterator[LeftoverGroup]:
    work, grace = settings.work_folder, _get_grace(settings)
    accepted = settings.quality.accepted_snapshot
    named = [{"accepted_snapshot": accepted}] if accepted else []
    finders: list[tuple[str, Callable[[], LeftoverGroup]]] = [
        ("temporary folders", lambda: find_abandoned_scratch(work)),
        ("local copies of models", lambda: find_unused_artefacts(work, now, grace)),
        ("published trainings", lambda: find_finished_trainings(lake, work, now, grace)),
        ("unfinished trainings", lambda: find_abandoned_trainings(lake, now, grace)),
        ("superseded objects", lambda: find_superseded_objects(lake, now, grace, named, mark=mark)),
        ("release files", lambda: find_unreleased_files(release_store, now, grace)),
    ]
    for kind, find in finders:
        try:
            yield find()
        except HablaError as error:
            yield LeftoverGroup(kind, problem=str(error))


def _remove_unlisted(lake: Lake, release_store: Store, settings: Settings, before: datetime) -> Iterator[str]:
    """Trim the cache, remove unfinished writes and clip files of interrupted uploads; yield the problems."""
    for remove in (
        lake.trim_cache,
        partial(_clean_inbox, settings, before),
        partial(lake.delete_unfinished, before),
        partial(release_store.delete_unfinished, before),
    ):
        try:
            remove()
        except HablaError as error:
            yield str(error)


def _clean_inbox(settings: Settings, before: datetime) -> None:
    """Remove bodies and clip files of interrupted uploads, which no row of the database names, and unfinished writes."""
    sweep_incoming(get_incoming_folder(settings), before)
    with open_existing_database(settings) as database:
        if database is not None:
            store = open_clip_store(settings)
            sweep_clip_files(database, store, before)
            store.delete_unfinished(before)


def _get_grace(settings: Settings) -> timedelta:
    return timedelta(days=settings.cleanup.grace_days)


def _format_amount(number: int, size_bytes: int) -> str:
    return f"{number}, {size_bytes / 1e6:,.1f} MB" if number else "0"
