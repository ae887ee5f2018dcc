"""Bulk import of a whole tree of recordings, several days at once, with the result of `ingest_day` for each.

A day is published completely or not at all. A day that has not changed is not read. An interrupted import gives the
same objects when it runs again. The processes of the import read and publish the days; a Ray cluster can encode the audio.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from habla_ml.errors import HablaError, InputError, IsolatedError, describe_error
from habla_ml.lake import Lake, open_lake
from habla_ml.process import die_with_parent
from habla_ml.ray_pool import count_cpus
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.day_range import is_day_inside
from habla_ml.recordings.ingest import IngestedDay, ingest_day
from habla_ml.recordings.segment_audio import EncodeFiles, encode_here, encode_on_ray
from habla_ml.recordings.sessions import Skipped, list_folder, parse_session_day
from habla_ml.recordings.skipped_sessions import find_live_sessions, find_skipped_sessions
from habla_ml.settings import Settings, StoreSettings

if TYPE_CHECKING:
    from rich.console import Console

ImportPlace = Literal["here", "ray"]
"""Where the audio of an import is encoded: in the processes of the import, or in tasks of the Ray cluster."""


@dataclass(frozen=True)
class FailedDay:
    """A day that was not imported; its content in the lake is unchanged."""

    day: str
    error: str


@dataclass(frozen=True)
class ImportResult:
    """The result of an import."""

    imported: tuple[IngestedDay, ...]
    failed: tuple[FailedDay, ...]
    unchanged_days: int
    skipped_sessions: tuple[Skipped, ...]
    """Sessions that may still be recorded, and entries that no day includes, such as sessions dated in the future."""

    @property
    def summary(self) -> str:
        """The result as text."""
        counts = [
            f"{len(self.imported)} days imported: {sum(each.hours for each in self.imported):.2f} h in "
            f"{sum(each.segments for each in self.imported)} segments, "
            f"{sum(len(each.skipped_inputs) for each in self.imported)} inputs skipped",
            f"{self.unchanged_days} days unchanged",
        ]
        if self.skipped_sessions:
            counts.append(f"{len(self.skipped_sessions)} entries of the folder skipped")
        if self.failed:
            counts.append(f"{len(self.failed)} days failed; fix the cause and run the import again")
        return "; ".join(counts)


def import_with_progress(
    folder: Path, settings: Settings, processes: int, console: Console, on: ImportPlace = "here"
) -> ImportResult:
    """Import every changed day of `folder`, with a progress bar of days and hours.

    The recordings folder of the settings is not used. `processes` is the number of days to import at once, 0 for one
    per core.

    Raises:
        InputError: The folder cannot be listed or has no session.
        SettingsError: Ray is not installed.
        ServiceError: The Ray cluster cannot be reached or has no CPU.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    now = datetime.now(UTC)
    days = sorted({day for entry in list_folder(folder) if (day := parse_session_day(entry.name)) is not None})
    if not days:
        raise InputError(f"{folder} has no folder named <session>_<YYYYMMDD_HHMMSS>; pass Habla's recordings folder")
    wanted = [day for day in days if is_day_inside(day, settings, now)]
    lake = _open_lake_once(settings.lake, settings.work_folder / "cache")
    unchecked: list[IsolatedError] = []
    missing = [each.day for each in find_changed_days(folder, lake, settings, now, unchecked)]
    imported: list[IngestedDay] = []
    failed = [FailedDay(each.subject, each.message) for each in unchecked]
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days, {task.fields[hours]:.2f} h, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(
            "", total=len(wanted), completed=len(wanted) - len(missing), hours=0.0, failed=len(failed)
        )
        for done in import_days(folder, missing, settings, now, processes, on):
            if isinstance(done, FailedDay):
                failed.append(done)
            else:
                imported.append(done)
            progress.update(task, advance=1, hours=sum(each.hours for each in imported), failed=len(failed))
    return ImportResult(
        imported=tuple(sorted(imported, key=lambda each: each.day)),
        failed=tuple(sorted(failed, key=lambda each: each.day)),
        unchanged_days=len(wanted) - len(missing) - len(unchecked),
        skipped_sessions=(*find_live_sessions(folder, settings, now), *find_skipped_sessions(folder, settings, now)),
    )


def import_days(
    folder: Path,
    days: Sequence[str],
    settings: Settings,
    now: datetime,
    processes: int = 0,
    on: ImportPlace = "here",
) -> Iterator[IngestedDay | FailedDay]:
    """Import `days` in a pool of processes and yield each result; an error affects its own day only.

    Raises as `import_with_progress`.
    """
    n_processes = max(1, min(len(days), processes or os.cpu_count() or 1))
    encode = _choose_encoder(on, settings, n_processes) if days else encode_here
    pool = ProcessPoolExecutor(
        n_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=die_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        futures = {pool.submit(_import_day, folder, day, settings, now, encode): day for day in days}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                reason = "a process of the import was killed, possibly for lack of memory; use fewer --processes"
                yield FailedDay(futures[future], reason)
    finally:
        pool.shutdown(cancel_futures=True)


def _choose_encoder(on: ImportPlace, settings: Settings, n_processes: int) -> EncodeFiles:
    """Return what encodes the audio of one day; the days of all processes share the CPUs of the cluster."""
    if on == "here":
        return encode_here
    cluster = settings.training.launch.ray
    return partial(encode_on_ray, n_workers=math.ceil(count_cpus(cluster) / n_processes), settings=cluster)


def _import_day(
    folder: Path, day: str, settings: Settings, now: datetime, encode: EncodeFiles
) -> IngestedDay | FailedDay:
    try:
        lake = _open_lake_once(settings.lake, settings.work_folder / "cache")
        return ingest_day(folder, day, lake, settings, now, encode)
    except (HablaError, OSError) as error:
        return FailedDay(day, describe_error(error))


@cache
def _open_lake_once(store: StoreSettings, cache_folder: Path) -> Lake:
    """Open the lake once per process, because opening a store on S3 tests it with writes."""
    return open_lake(store, cache_folder)
