"""What can stop the loop although no run fails: recordings or uploads that wait, an outage, a full disk, an old queue.

Nothing here depends on a run: it reads Habla's folder, the service's database and a few pointers of the lake. Messages
name the time of a session and no folder, because people can rename folders after a pupil.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from habla_ml.annotation.review_queue import load_queue
from habla_ml.errors import HablaError
from habla_ml.inbox.database import open_existing_database
from habla_ml.inbox.unread_clips import count_clips
from habla_ml.lake import Lake, catalogue
from habla_ml.monitoring.alert_state import Condition, ConditionReport
from habla_ml.recordings.sessions import parse_session_start
from habla_ml.recordings.unsaved_sessions import FolderSurvey, UnsavedSession, count_folders, survey_folder
from habla_ml.settings import Settings

DELETION: Final = "deletion"
WAITING: Final = "waiting"
LAKE: Final = "lake"
FOLDER: Final = "recordings_folder"
REVIEW: Final = "review_queue"
DISK: Final = "disk"
UPLOADS: Final = "uploads"
_FIRST_INGEST: Final = timedelta(hours=1)
"""How long the ingest of an old folder may take before its sessions count as waiting."""


def examine_loop(open_lake: Callable[[], Lake], settings: Settings, now: datetime) -> ConditionReport:
    """Return what stops the loop now; what cannot be examined is reported as unknown.

    Args:
        open_lake: Opens the lake; raises `LakeError` if it cannot be reached.
        settings: The deployment.
        now: An aware time.
    """
    conditions, unknown = [*_examine_disk(settings), *_examine_uploads(settings, now)], set[str]()
    try:
        lake = open_lake()
        has_recordings = next(catalogue.RECORDINGS.keys(lake), None) is not None
        conditions += _examine_review_queue(lake, has_recordings, settings, now)
    except (HablaError, OSError) as error:
        return ConditionReport(
            (*conditions, _describe_outage(error, settings)), frozenset({DELETION, WAITING, REVIEW, FOLDER})
        )
    if settings.recordings.folder_problem is not None:
        unknown |= {DELETION, WAITING}
        if has_recordings:
            conditions.append(_describe_missing_folder(settings.recordings.folder_problem, settings))
        return ConditionReport(tuple(conditions), frozenset(unknown))
    try:
        survey = survey_folder(lake, settings, now)
        conditions += [*_examine_deletion(survey, settings), *_examine_waiting(survey, settings, now)]
    except (HablaError, OSError) as error:
        unknown |= {DELETION, WAITING}
        conditions.append(_describe_missing_folder(str(error), settings))
    return ConditionReport(tuple(conditions), frozenset(unknown))


def is_near_deletion(session: UnsavedSession | None, settings: Settings) -> bool:
    """Return whether Habla deletes the session within the bound of the settings."""
    return session is not None and session.folders_left is not None and session.folders_left <= deletion_bound(settings)


def deletion_bound(settings: Settings) -> int:
    """Return the number of folders before a deletion that raises the alert."""
    return min(settings.monitoring.loop.folders_before_deletion, settings.recordings.max_recordings // 2)


def find_longest_waiting(survey: FolderSurvey, now: datetime) -> UnsavedSession | None:
    """Return the session that has waited longest for its ingest, or None."""
    return max(survey.waiting, key=lambda each: each.hours_waited(now), default=None)


def name_session(session: UnsavedSession) -> str:
    """Return the session's start in words; its folder may name a person."""
    return f"the session of {parse_session_start(session.name):%Y-%m-%d %H:%M}"


def measure_free_gb(folder: Path) -> float:
    """Return the free space for a folder, which may not exist yet, in GB."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).free / 1e9


def is_queue_old(lake: Lake, settings: Settings, now: datetime) -> bool:
    """Return whether the review queue is older than `monitoring.loop.review_queue_days`; True without a queue."""
    queue = load_queue(lake)
    return queue is None or now - queue.made_at > timedelta(days=settings.monitoring.loop.review_queue_days)


def _examine_deletion(survey: FolderSurvey, settings: Settings) -> Iterator[Condition]:
    nearest = survey.nearest
    if nearest is None or not is_near_deletion(nearest, settings):
        return
    left = "with the next session" if not nearest.folders_left else f"after {nearest.folders_left} more sessions"
    yield Condition(
        DELETION,
        f"A recording that is not in the lake is {nearest.folders_left} folders from being deleted",
        f"Habla deletes {name_session(nearest)} {left}: it keeps {survey.limit} folders and has {survey.folders}. "
        f"{len(survey.unsaved)} sessions are not in the lake.\n"
        f"{f'This session {nearest.skipped}.' if nearest.skipped else 'Ingest does not keep up or has stopped.'} "
        f"Run `{settings.command('status')}`, fix what failed, or copy the recordings folder to a safe place.",
        # A new deployment starts with a full folder, and its first ingest takes some minutes.
        timedelta(seconds=2 * settings.monitoring.loop.interval_s),
    )


def _examine_waiting(survey: FolderSurvey, settings: Settings, now: datetime) -> Iterator[Condition]:
    longest = find_longest_waiting(survey, now)
    if longest is None or longest.hours_waited(now) <= settings.monitoring.loop.most_hours_waiting:
        return
    yield Condition(
        WAITING,
        f"Finished recordings have waited for their ingest for more than {settings.monitoring.loop.most_hours_waiting:g} hours",
        f"{len(survey.waiting)} finished sessions are not in the lake; {name_session(longest)} has waited longest.\n"
        f"Run `{settings.command('status')}`: it shows failed runs and whether Dagster's daemon runs.",
        _FIRST_INGEST,
    )


def _examine_review_queue(lake: Lake, has_recordings: bool, settings: Settings, now: datetime) -> Iterator[Condition]:
    if not has_recordings or not is_queue_old(lake, settings, now):
        return
    days = settings.monitoring.loop.review_queue_days
    has_queue = lake.read_pointer(catalogue.REVIEW_QUEUE) is not None
    yield Condition(
        REVIEW,
        "The review queue is out of date" if has_queue else "There is no review queue yet",
        f"The queue is made by the schedule `weekly_review` ({settings.review.cron}); the last one is older than "
        f"{days:g} days.\nRun `{settings.command('status')}`, or launch the job `choose_for_review`.",
        # A new deployment has no queue before the first time of the schedule.
        timedelta() if has_queue else timedelta(days=days),
    )


def _examine_disk(settings: Settings) -> Iterator[Condition]:
    free_gb, least_gb = measure_free_gb(settings.work_folder), settings.monitoring.loop.least_free_gb
    if free_gb < least_gb:
        yield Condition(
            DISK,
            "The disk is almost full",
            f"{free_gb:.1f} GB are free for {settings.work_folder}, less than {least_gb:g} GB; ingest and training will "
            "stop. Free some space; runs that failed are tried again by themselves.",
        )


def _examine_uploads(settings: Settings, now: datetime) -> Iterator[Condition]:
    """Yield what is wrong with the clips that the service received; nothing where no service was ever started."""
    most_h = settings.monitoring.loop.most_hours_waiting
    try:
        with open_existing_database(settings) as database:
            oldest_at = None if database is None else count_clips(database).oldest_unread_at
    except HablaError as error:
        yield Condition(
            UPLOADS,
            "The service's database cannot be read",
            f"{type(error).__name__}. No upload or correction reaches the lake; what was received stays where it is.\n"
            f"Run `{settings.command('status')}` to see the cause.",
            timedelta(minutes=settings.monitoring.loop.outage_minutes),
        )
        return
    if oldest_at is not None and now - oldest_at > timedelta(hours=most_h):
        yield Condition(
            UPLOADS,
            f"Received clips have waited for their ingest for more than {most_h:g} hours",
            f"The oldest was received at {settings.format_minute(oldest_at)}.\n"
            f"Run `{settings.command('status')}`: it shows failed runs and whether Dagster's daemon runs.",
            _FIRST_INGEST,
        )


def _describe_outage(error: Exception, settings: Settings) -> Condition:
    try:
        counted = count_folders(settings)
        kept = f"Habla keeps {counted.limit} folders and has {counted.folders}" if counted.limit else "Habla keeps all"
    except HablaError:
        kept = "Habla's folder cannot be read either"
    return Condition(
        LAKE,
        "The lake cannot be read",
        f"{type(error).__name__}. It is unknown which recordings are safe, and none is ingested; {kept}.\n"
        f"Run `{settings.command('doctor')}` to see the cause. Ingest goes on by itself once the lake is back.",
        timedelta(minutes=settings.monitoring.loop.outage_minutes),
    )


def _describe_missing_folder(problem: str, settings: Settings) -> Condition:
    return Condition(
        FOLDER,
        "Habla's recordings cannot be read",
        f"{problem}.\nIs the disk mounted? Run `{settings.command('doctor')}`.",
        timedelta(minutes=settings.monitoring.loop.outage_minutes),
    )
