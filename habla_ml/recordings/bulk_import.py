"""Bulk import of a whole tree of recordings, several days at once, with the result of `ingest_day` for each.

A day is published completely or not at all. A day that has not changed is not read. An interrupted import gives the
same objects when it runs again.
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
    """A day that was imported."""

    day: str
    sessions: int
    """Sessions that were read."""
    segments: int
    """Segments of the day in the lake."""
    hours: float
    skipped_inputs: int


@dataclass(frozen=True)
class FailedDay:
    """A day that was not imported; its content in the lake is unchanged."""

    day: str
    error: str


@dataclass(frozen=True)
class ImportResult:
    """The result of an import."""

    imported: tuple[ImportedDay, ...]
    failed: tuple[FailedDay, ...]
    unchanged_days: int
    """Days that are already in the lake."""
    early_days: int
    """Days before `recordings.first_day`; they have no partition."""

    @property
    def summary(self) -> str:
        """The result as text."""
        counts = [
            f"{len(self.imported)} days imported: {sum(each.hours for each in self.imported):.2f} h in "
            f"{sum(each.segments for each in self.imported)} segments, "
            f"{sum(each.skipped_inputs for each in self.imported)} inputs skipped",
            f"{self.unchanged_days} days unchanged",
        ]
        if self.early_days:
            counts.append(f"{self.early_days} days skipped because they are before recordings.first_day")
        if self.failed:
            counts.append(f"{len(self.failed)} days failed; fix the cause and run the import again")
        return "; ".join(counts)


def import_with_progress(folder: Path, settings: Settings, processes: int, console: Console) -> ImportResult:
    """Import every changed day of `folder`, with a progress bar of days and hours.

    Args:
        folder: A tree like Habla's recordings folder.
        settings: The lake, the zone and the bounds. Its recordings folder is not used.
        processes: Days to import at once; 0 for one per core.
        console: Console for the progress bar.

    Raises:
        InputError: The folder cannot be listed or has no session.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    now = datetime.now(UTC)
    days = sorted({day for entry in list_folder(folder) if (day := parse_session_day(entry.name)) is not None})
    if not days:
        raise InputError(f"{folder} has no folder named <session>_<YYYYMMDD_HHMMSS>; pass Habla's recordings folder")
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
        task = progress.add_task("", total=len(wanted), completed=len(wanted) - len(missing), hours=0.0, failed=0)
        for done in import_days(folder, missing, settings, now, processes):
            if isinstance(done, ImportedDay):
                imported.append(done)
            else:
                failed.append(done)
            progress.update(task, advance=1, hours=sum(each.hours for each in imported), failed=len(failed))
    return ImportResult(
        imported=tuple(sorted(imported, key=lambda each: each.day)),
        failed=tuple(sorted(failed, key=lambda each: each.day)),
        unchanged_days=len(wanted) - len(missing),
        early_days=len(days) - len(wanted),
    )


def import_days(
    folder: Path, days: Sequence[str], settings: Settings, now: datetime, processes: int = 0
) -> Iterator[ImportedDay | FailedDay]:
    """Import `days` in a pool of processes and yield each result; an error affects its own day only."""
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
        return FailedDay(day, "a process of the import was killed, possibly for lack of memory; use fewer --processes")


def _import_day(folder: Path, day: str, settings: Settings, now: datetime) -> ImportedDay | FailedDay:
    try:
        lake = _open_lake_once(settings.lake, settings.work_folder / "cache")
        done = ingest_day(folder, day, lake, settings, now)
    except (HablaError, OSError) as error:
        return FailedDay(day, f"{type(error).__name__}: {error}")
    return ImportedDay(day, len(done.read_sessions), done.segments, done.hours, len(done.skipped_inputs))


@cache
def _open_lake_once(store: StoreSettings, cache_folder: Path) -> Lake:
    """Open the lake once per process, because opening a store on S3 tests it with writes."""
    return open_lake(store, cache_folder)
