"""Find the days to ingest from `stat` calls only; the cost depends on what changed, not on what exists.

A folder's own time changes when an entry is added or removed, and Habla writes a segment once. A session whose folder
and two JSON files have unchanged times is therefore the same session: three calls of `stat`, whatever its size. The
day's pointer stores this stat signature next to the fingerprint of every file. A session that was written recently has
no stat signature yet and is listed completely, because its files may still grow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from habla_ml.consent.admission import Consents, load_consents
from habla_ml.errors import InputError, IsolatedError, isolate
from habla_ml.lake import Lake, PointerSnapshot, catalogue, compute_digest
from habla_ml.recordings.day_range import is_day_inside
from habla_ml.recordings.days import (
    load_day,
    requeue_newly_consented_sessions,
    same_fingerprint,
    update_input_signatures,
)
from habla_ml.recordings.sessions import (
    CORRECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    SessionFolder,
    fingerprint_files,
    list_session,
    list_session_days,
)
from habla_ml.settings import Settings

SETTLED_AFTER_S: Final = 600.0
"""A session's files are examined one by one until its folder has been unchanged for this long."""


@dataclass(frozen=True)
class ChangedDay:
    """A day with a session that is new, changed or newly consented."""

    day: str
    fingerprint: str
    """Changes with the files of the day's sessions and with their stored signatures."""


def find_changed_days(
    folder: Path, lake: Lake, settings: Settings, now: datetime, errors: list[IsolatedError] | None = None
) -> Iterator[ChangedDay]:
    """Yield the days to ingest, in order.

    Costs one stat signature per session, one listing, and one read for each day that moved in the lake; opens no
    recording. Days that cannot be ingested (`day_range`) are left out; `find_skipped_sessions` lists their sessions.
    With `errors`, a day that cannot be examined is added to it and does not stop the others. If a session's folder
    changed but none of the relevant files did (a correction was saved), the day's pointer gets the new stat signature.
    Raises `InputError` if the recordings folder cannot be listed, or the register of consents cannot be read.
    """
    days = list_session_days(folder)
    inside = [day for day in sorted(days) if is_day_inside(day, settings, now)]
    published = catalogue.RECORDINGS.read(lake, inside)
    finder = _ChangeFinder(lake, published, settings, now, _digest_settings(settings), load_consents(settings, now))
    for day in inside:
        changed = None
        with isolate(day, errors):
            changed = finder.find_change(day, days.pop(day))
        if changed is not None:
            yield changed


def fingerprint_session(session: SessionFolder, settings: Settings) -> str:
    """Return the digest of everything that decides a session's rows, as the day's pointer stores it."""
    files = (each for each in session.files if each.name != CORRECTIONS_FILE)
    return compute_digest([fingerprint_files(session.name, session.state, files), _digest_settings(settings)])[:32]


def input_signature(session: SessionFolder, settings: Settings, now: datetime) -> str:
    """Return the session's fingerprint and, if it has settled, its stat signature after a space."""
    fingerprint = fingerprint_session(session, settings)
    try:
        folder_ns = session.path.lstat().st_mtime_ns
    except OSError:
        return fingerprint
    newest_ns = max([folder_ns, *(each.modified_ns for each in session.files)])
    if now.timestamp() - newest_ns / 1e9 < SETTLED_AFTER_S:
        return fingerprint
    files = {each.name: (each.size_bytes, each.modified_ns) for each in session.files}
    metadata, ground_truth = files.get(METADATA_FILE), files.get(GROUND_TRUTH_FILE)
    return f"{fingerprint} {_format_stat_signature(_digest_settings(settings), folder_ns, metadata, ground_truth)}"


@dataclass(frozen=True)
class _ChangeFinder:
    """Compares the sessions of a day with the day's pointer."""

    lake: Lake
    published: PointerSnapshot
    settings: Settings
    now: datetime
    settings_digest: str
    consents: Consents

    def find_change(self, day: str, entries: list[os.DirEntry[str]]) -> ChangedDay | None:
        published = load_day(self.published, day)
        if published is not None:
            published = requeue_newly_consented_sessions(self.lake, published, self.consents)
        known: Mapping[str, str] = published.inputs if published else {}
        read = ((entry.name, self._read_signature(entry, known.get(entry.name, ""))) for entry in entries)
        present = {name: signature for name, signature in read if signature is not None}
        if not all(same_fingerprint(known.get(name), signature) for name, signature in present.items()):
            fingerprints = [{name: each.partition(" ")[0] for name, each in side.items()} for side in (present, known)]
            return ChangedDay(day, compute_digest(fingerprints))
        if updated := {name: each for name, each in present.items() if each != known[name] and " " in each}:
            update_input_signatures(self.lake, day, updated)
        return None

    def _read_signature(self, entry: os.DirEntry[str], old: str) -> str | None:
        """Return the session's input signature, or None if it is live, gone or cannot be listed."""
        stat_signature = old.partition(" ")[2]
        if stat_signature and stat_signature == _read_stat_signature(entry, self.settings_digest):
            return old
        try:
            session = list_session(entry, self.settings, self.now)
        except InputError:
            return None  # `ingest_day` reports it
        if session is None or session.state == "live":
            return None
        return input_signature(session, self.settings, self.now)


def _read_stat_signature(entry: os.DirEntry[str], settings_digest: str) -> str:
    """Return the present stat signature of a session; empty if it is gone or not a folder."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return ""
        folder_ns = os.lstat(entry.path).st_mtime_ns
    except OSError:
        return ""
    metadata = _read_size_and_mtime(f"{entry.path}/{METADATA_FILE}")
    ground_truth = _read_size_and_mtime(f"{entry.path}/{GROUND_TRUTH_FILE}")
    return _format_stat_signature(settings_digest, folder_ns, metadata, ground_truth)


def _read_size_and_mtime(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _format_stat_signature(
    settings_digest: str, folder_ns: int, metadata: tuple[int, int] | None, ground_truth: tuple[int, int] | None
) -> str:
    return f"{settings_digest}-{folder_ns:x}-{metadata}-{ground_truth}".replace(" ", "")


def _digest_settings(settings: Settings) -> str:
    """Return a short digest of the settings that decide rows."""
    chosen = settings.recordings
    return compute_digest([settings.time_zone, chosen.longest_segment_s, chosen.keep_raw_stream])[:12]
