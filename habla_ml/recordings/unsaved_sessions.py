"""The sessions in Habla's folder that the lake does not have, and how soon Habla deletes them.

When a session ends, Habla counts the entries of its folder whose name contains an underscore, and deletes the oldest until
`max_recordings` are left (`_cleanup_old_recordings` of HablaTranslate's `server/services/audio_recorder.py`). The oldest
is the one with the smallest `st_ctime`: on Windows the time of creation, elsewhere the time of the last change of the
folder, which a saved correction or a restored backup moves. Here the session's own start counts too, and the earlier of
the two decides.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from habla_ml.errors import InputError
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.day_range import explain_day_outside, is_clock_wrong
from habla_ml.recordings.days import load_day
from habla_ml.recordings.sessions import SessionState, list_folder, list_session, parse_session_day, parse_session_start
from habla_ml.settings import Settings


@dataclass(frozen=True)
class UnsavedSession:
    """A session with segments that the lake does not have."""

    name: str
    state: SessionState
    changed_at: datetime
    """When its files last changed, UTC."""
    folders_left: int | None
    """New sessions until Habla deletes it; 0: the next session that ends deletes it. None without a limit."""
    skipped: str
    """Why it is not ingested; empty if it waits for its turn."""
    is_clock_wrong: bool
    """Whether it is skipped because the recorder's clock was wrong, not because the settings leave it out."""

    def hours_waited(self, now: datetime) -> float:
        """Return the hours since its files last changed; 0 for a time in the future."""
        return max(0.0, (now - self.changed_at).total_seconds() / 3600)


@dataclass(frozen=True)
class FolderSurvey:
    """Habla's folder as Habla's clean-up sees it, and what of it is not in the lake."""

    folders: int
    """Entries that Habla counts."""
    limit: int
    """`recordings.max_recordings`; 0: Habla deletes nothing."""
    live: int
    """Sessions that are being recorded."""
    unsaved: tuple[UnsavedSession, ...]
    """The one that Habla deletes first comes first; sessions that are live or without segments are left out."""

    @property
    def waiting(self) -> tuple[UnsavedSession, ...]:
        """The unsaved sessions that the next ingest takes."""
        return tuple(each for each in self.unsaved if not each.skipped)

    @property
    def nearest(self) -> UnsavedSession | None:
        """The unsaved session that Habla deletes first; None if there is none, or no limit.

        Sessions that the settings leave out do not count.
        """
        wanted = (each for each in self.unsaved if not each.skipped or each.is_clock_wrong)
        return next((each for each in wanted if each.folders_left is not None), None)


@dataclass(frozen=True)
class FolderCount:
    """The number of folders of each name until Habla deletes it; needs no lake."""

    folders: int
    limit: int
    folders_left: Mapping[str, int]
    """Entry of the recordings folder → new sessions until it is deleted; empty without a limit."""


def count_folders(settings: Settings) -> FolderCount:
    """Count the entries as Habla does; raise `InputError` if the recordings folder cannot be listed."""
    return _count(list_folder(settings.recordings.folder), settings.recordings.max_recordings)


def survey_folder(lake: Lake, settings: Settings, now: datetime) -> FolderSurvey:
    """Find the sessions that are not in the lake; opens no recording.

    Costs one listing of the days, and one read for each day that moved.

    Raises:
        InputError: The recordings folder cannot be listed.
        LakeError: The lake cannot be read.
    """
    entries = list_folder(settings.recordings.folder)
    counted = _count(entries, settings.recordings.max_recordings)
    days: dict[str, list[os.DirEntry[str]]] = defaultdict(list)
    for entry in entries:
        if (day := parse_session_day(entry.name)) is not None:
            days[day].append(entry)
    saved = _load_saved_sessions(lake, list(days))
    live, unsaved = 0, []
    for day, entry in ((day, each) for day, group in days.items() for each in group if each.name not in saved):
        found = _describe(entry, day, settings, now, counted.folders_left)
        if found is not None and found.state == "live":
            live += 1
        elif found is not None:
            unsaved.append(found)
    unsaved.sort(key=lambda each: (each.folders_left or 0, parse_session_start(each.name), each.name))
    return FolderSurvey(counted.folders, counted.limit, live, tuple(unsaved))


def _load_saved_sessions(lake: Lake, days: Sequence[str]) -> set[str]:
    """Return the names of the sessions that the lake has read on these days."""
    pointers = catalogue.RECORDINGS.read(lake, days)
    published = (load_day(pointers, day) for day in days)
    return {name for day in published if day is not None for name in day.inputs}


def _describe(
    entry: os.DirEntry[str], day: str, settings: Settings, now: datetime, folders_left: Mapping[str, int]
) -> UnsavedSession | None:
    """Return a session; None if it is gone or has no segment, or is no folder that can be listed."""
    try:
        session = list_session(entry, settings, now)
        changed_s = entry.stat(follow_symlinks=False).st_ctime
    except (InputError, OSError):
        return None  # `find_skipped_sessions` reports it
    if session is None or session.state == "empty":
        return None
    # The kernel sets the time of the last change, so a wrong time of a file in the future does not hide a session.
    changed_s = min(changed_s, max((each.modified_ns / 1e9 for each in session.files), default=changed_s))
    return UnsavedSession(
        name=session.name,
        state=session.state,
        changed_at=datetime.fromtimestamp(changed_s, UTC),
        folders_left=folders_left.get(entry.name),
        skipped=explain_day_outside(day, settings, now) or "",
        is_clock_wrong=is_clock_wrong(day, settings, now),
    )


def _count(entries: Iterable[os.DirEntry[str]], limit: int) -> FolderCount:
    counted = {each.name: _read_change_time(each) for each in entries if "_" in each.name}
    if limit == 0:
        return FolderCount(len(counted), limit, {})
    by_change = sorted(counted, key=lambda name: (counted[name], name))
    by_start = sorted(counted, key=lambda name: (parse_session_start(name) or datetime.max, name))
    ranks = [{name: rank for rank, name in enumerate(order)} for order in (by_change, by_start)]
    spare = limit - len(counted) + 1
    left = {name: max(0, spare + min(rank[name] for rank in ranks)) for name in counted}
    return FolderCount(len(counted), limit, left)


def _read_change_time(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_ctime
    except OSError:
        return 0.0
