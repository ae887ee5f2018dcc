"""Which days to ingest, at the cost of a glance: what changed is looked at, not what exists.

A folder's own time moves when an entry comes or goes, and Habla writes a segment once, so a session whose folder
and two JSON files stand as they did is the same session: three calls of `stat`, whatever it holds. The day's
pointer keeps that glance beside the fingerprint of every file. A session that was written lately has no glance
yet and is listed in full, since its files may still grow. Where something waits for a consent, the pointer keeps a
digest of the register: while that is the same, nobody's consent has come.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from habla_ml.consent.admission import Consents, consents_of
from habla_ml.errors import InputError
from habla_ml.lake import Lake, digest_of
from habla_ml.recordings.days import call_for_late_consents, load_day, note_inputs, same_input
from habla_ml.recordings.sessions import (
    GROUND_TRUTH,
    METADATA,
    SessionFolder,
    list_folder,
    list_session,
    session_day,
)
from habla_ml.settings import Settings

SETTLED_AFTER_S: Final = 600.0
"""A session's files are looked at one by one until nothing in its folder changed for so long."""


@dataclass(frozen=True)
class ChangedDay:
    """A day with a session that the lake has not seen, not in this state, or not with the consents of now."""

    day: str
    fingerprint: str
    """Changes whenever the files of the day's sessions do, or what is noted of them."""


def changed_days(folder: Path, lake: Lake, settings: Settings, now: datetime) -> Iterator[ChangedDay]:
    """The days to ingest, in order; costs one glance a session and one small pointer a day, and opens no recording.

    Days before `recordings.first_day` are left out: they have no partition. Where a session's folder changed but
    none of the files that matter did (a correction was saved), the new glance is noted in the day's pointer.

    Raises:
        InputError: the recordings folder cannot be listed, or the register of consents cannot be read.
    """
    days: dict[str, list[os.DirEntry[str]]] = defaultdict(list)
    for entry in list_folder(folder):
        if (day := session_day(entry.name)) is not None:
            days[day].append(entry)
    mark, consents = _mark(settings), consents_of(settings, now)
    for day in sorted(days):
        if day >= settings.recordings.first_day:
            changed = _changed_day(day, days.pop(day), lake, settings, now, mark, consents)
            if changed is not None:
                yield changed


def fingerprint_of(session: SessionFolder, settings: Settings) -> str:
    """Digest of everything that decides a session's rows: what the day's pointer remembers of it."""
    return digest_of([session.fingerprint(), _mark(settings)])[:32]


def noted_input(session: SessionFolder, settings: Settings, now: datetime) -> str:
    """The fingerprint and, where the session has settled, the glance by which the next tick knows it again."""
    fingerprint = fingerprint_of(session, settings)
    try:
        folder_ns = session.path.lstat().st_mtime_ns
    except OSError:
        return fingerprint
    newest_ns = max([folder_ns, *(each.modified_ns for each in session.files)])
    if now.timestamp() - newest_ns / 1e9 < SETTLED_AFTER_S:
        return fingerprint
    modified = {each.name: (each.size_bytes, each.modified_ns) for each in session.files}
    return (
        f"{fingerprint} {_glance(_mark(settings), folder_ns, modified.get(METADATA), modified.get(GROUND_TRUTH))}"
    )


def _changed_day(
    day: str,
    entries: list[os.DirEntry[str]],
    lake: Lake,
    settings: Settings,
    now: datetime,
    mark: str,
    consents: Consents,
) -> ChangedDay | None:
    published = load_day(lake, day)
    if published is not None:
        published = call_for_late_consents(lake, published, consents)
    known: Mapping[str, str] = published.inputs if published else {}
    present: dict[str, str] = {}
    seen_again: dict[str, str] = {}
    changed = False
    for entry in entries:
        noted = known.get(entry.name, "")
        fingerprint, _, glance = noted.partition(" ")
        if glance and glance == _glance_at(entry, mark):
            present[entry.name] = fingerprint
            continue
        try:
            session = list_session(entry, settings, now)
        except InputError:
            continue  # `ingest_day` reports it
        if session is None or session.state == "live":
            continue
        now_noted = noted_input(session, settings, now)
        present[entry.name] = now_noted.partition(" ")[0]
        if not same_input(noted, now_noted):
            changed = True
        elif now_noted != noted and " " in now_noted:
            seen_again[entry.name] = now_noted
    if changed:
        read_from = {name: noted.partition(" ")[0] for name, noted in known.items()}
        return ChangedDay(day, digest_of([present, read_from]))
    if seen_again:
        note_inputs(lake, day, seen_again)
    return None


def _glance_at(entry: os.DirEntry[str], mark: str) -> str:
    """The glance of a session as it stands; empty where it is no folder or is gone."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return ""
        folder_ns = os.lstat(entry.path).st_mtime_ns
    except OSError:
        return ""
    path = entry.path
    return _glance(mark, folder_ns, _size_and_time(f"{path}/{METADATA}"), _size_and_time(f"{path}/{GROUND_TRUTH}"))


def _size_and_time(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _glance(
    mark: str, folder_ns: int, metadata: tuple[int, int] | None, ground_truth: tuple[int, int] | None
) -> str:
    return f"{mark}-{folder_ns:x}-{metadata}-{ground_truth}".replace(" ", "")


def _mark(settings: Settings) -> str:
    """Short digest of the settings that decide rows."""
    chosen = settings.recordings
    return digest_of([settings.time_zone, chosen.longest_segment_s, chosen.keep_raw_stream])[:12]
