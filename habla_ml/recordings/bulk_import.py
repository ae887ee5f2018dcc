"""The bulk first import: a whole tree of recordings, many days at once, each as `ingest_day` would bring it.

A day is the unit: it is published whole or not at all, and one that stands in the lake as it does in the tree is
not read. Killed at any moment and run again, the import ends with the same objects.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.errors import HablaError, InputError
from habla_ml.lake import Lake, open_lake
from habla_ml.process import die_with_parent
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.sessions import list_folder, parse_session_day
from habla_ml.settings import Settings, StoreSettings

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ImportedDay:
    """A day that is in the lake now."""

    day: str
    sessions: int
    """Sessions that were read for it."""
    segments: int
    """Segments the lake holds of the day."""
    hours: float
    skipped_inputs: int


@dataclass(frozen=True)
class FailedDay:
    """A day that is not, and why; the lake holds what it held of it."""

    day: str
    error: str


@dataclass(frozen=True)
class ImportResult:
    """What an import came to."""

    imported: tuple[ImportedDay, ...]
    failed: tuple[FailedDay, ...]
    unchanged_days: int
    """Days that were in the lake already."""
    early_days: int
    """Days before `recordings.first_day`, which have no partition."""

    @property
    def summary(self) -> str:
        """The import in a line or two."""
        counts = [
            f"{len(self.imported)} days imported: {sum(each.hours for each in self.imported):.2f} h in "
            f"{sum(each.segments for each in self.imported)} segments, "
            f"{sum(each.skipped_inputs for each in self.imported)} things set aside",
            f"{self.unchanged_days} days were there already",
        ]
        if self.early_days:
            counts.append(f"{self.early_days} days lie before recordings.first_day and were left")
        if self.failed:
            counts.append(f"{len(self.failed)} days failed; mend the cause and run the import again")
        return "; ".join(counts)


def import_with_progress(folder: Path, settings: Settings, processes: int, console: Console) -> ImportResult:
    """Import every day of `folder` that the lake lacks, with a bar of days and hours.

    Args:
        folder: a tree like Habla's recordings folder.
        settings: the lake, the zone and the bounds; its own recordings folder is not looked at.
        processes: how many days at once; 0 for one a core.
        console: where the bar is drawn.

    Raises:
        InputError: the folder cannot be listed or holds no session.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    now = datetime.now(UTC)
    days = sorted({day for entry in list_folder(folder) if (day := parse_session_day(entry.name)) is not None})
    if not days:
        raise InputError(
            f"{folder} holds no folder named <session>_<YYYYMMDD_HHMMSS>; name Habla's recordings folder"
        )
    wanted = [day for day in days if day >= settings.recordings.first_day]
    lake = _open_lake_once(settings.lake, settings.work_folder / "cache")
    missing = [each.day for each in find_changed_days(folder, lake, settings, now)]
    imported: list[ImportedDay] = []
    failed: list[FailedDay] = []
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days, {task.fields[hours]:.2f} h, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        started = len(wanted) - len(missing)
        task = progress.add_task("", total=len(wanted), completed=started, hours=0.0, failed=0)
        for done in import_days(folder, missing, settings, now, processes):
            if isinstance(done, ImportedDay):
                imported.append(done)
            else:
                failed.append(done)
            hours = sum(each.hours for each in imported)
            progress.update(task, advance=1, hours=hours, failed=len(failed))
    return ImportResult(
        imported=tuple(sorted(imported, key=lambda each: each.day)),
        failed=tuple(sorted(failed, key=lambda each: each.day)),
        unchanged_days=len(wanted) - len(missing),
        early_days=len(days) - len(wanted),
    )


def import_days(
    folder: Path, days: Sequence[str], settings: Settings, now: datetime, processes: int = 0
) -> Iterator[ImportedDay | FailedDay]:
    """Import `days`, each in a process of a pool, and tell of each as it is done; an error costs its own day only."""
    pool = ProcessPoolExecutor(
        processes or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=die_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        futures = {pool.submit(_import_day, folder, day, settings, now): day for day in days}
        for future in as_completed(futures):
            yield _get_outcome(future, futures[future])
    finally:
        pool.shutdown(cancel_futures=True)


def _get_outcome(future: Future[ImportedDay | FailedDay], day: str) -> ImportedDay | FailedDay:
    try:
        return future.result()
    except BrokenProcessPool:
        return FailedDay(
            day, "a process of the import was killed, perhaps for memory; run it with fewer --processes"
        )


def _import_day(folder: Path, day: str, settings: Settings, now: datetime) -> ImportedDay | FailedDay:
    try:
        lake = _open_lake_once(settings.lake, settings.work_folder / "cache")
        done = ingest_day(folder, day, lake, settings, now)
    except (HablaError, OSError) as error:
        return FailedDay(day, f"{type(error).__name__}: {error}")
    return ImportedDay(day, len(done.read_sessions), done.segments, done.hours, len(done.skipped_inputs))


@cache
def _open_lake_once(store: StoreSettings, cache_folder: Path) -> Lake:
    """A process opens its lake once: a store on S3 is tried with two writes each time."""
    return open_lake(store, cache_folder)
