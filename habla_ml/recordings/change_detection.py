"""Which days to ingest, at the cost of a `stat`: what changed is looked at, not what exists.

A folder's own time moves when an entry comes or goes, and Habla writes a segment once, so a session whose folder
and two JSON files stand as they did is the same session: three calls of `stat`, whatever it holds. The day's
pointer keeps that stat_signature beside the fingerprint of every file. A session that was written lately has no stat_signature
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

from habla_ml.consent.admission import Consents, load_consents
from habla_ml.errors import InputError
from habla_ml.lake import Lake, compute_digest
from habla_ml.recordings.days import (
    load_day,
    requeue_newly_consented_sessions,
    same_fingerprint,
    update_input_signatures,
)
from habla_ml.recordings.sessions import (
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    SessionFolder,
    list_folder,
    list_session,
    parse_session_day,
)
from habla_ml.settings import Settings

SETTLED_AFTER_S: Final = 600.0
"""A session's files are looked at one by one until nothing in its folder changed for so long."""


@dataclass(frozen=True)
class ChangedDay:
    """A day with a session that the lake has not seen, not in this state, or not with the consents of now."""

    day: str
    fingerprint: str
    """Changes whenever the files of the day's sessions do, or what is known_signature of them."""


def find_changed_days(folder: Path, lake: Lake, settings: Settings, now: datetime) -> Iterator[ChangedDay]:
    """The days to ingest, in order; costs one `stat` signature a session and one small pointer a day, and opens no recording.

    Days before `recordings.first_day` are left out: they have no partition. Where a session's folder changed but
    none of the files that matter did (a correction was saved), the new stat_signature is known_signature in the day's pointer.

    Raises:
        InputError: the recordings folder cannot be listed, or the register of consents cannot be read.
    """
    days: dict[str, list[os.DirEntry[str]]] = defaultdict(list)
    for entry in list_folder(folder):
        if (day := parse_session_day(entry.name)) is not None:
            days[day].append(entry)
    settings_digest, consents = _digest_settings(settings), load_consents(settings, now)
    for day in sorted(days):
        if day >= settings.recordings.first_day:
            changed = _find_change(day, days.pop(day), lake, settings, now, settings_digest, consents)
            if changed is not None:
                yield changed


def fingerprint_session(session: SessionFolder, settings: Settings) -> str:
    """Digest of everything that decides a session's rows: what the day's pointer remembers of it."""
    return compute_digest([session.fingerprint(), _digest_settings(settings)])[:32]


def input_signature(session: SessionFolder, settings: Settings, now: datetime) -> str:
    """The fingerprint and, where the session has settled, the stat_signature by which the next tick knows it again."""
    fingerprint = fingerprint_session(session, settings)
    try:
        folder_ns = session.path.lstat().st_mtime_ns
    except OSError:
        return fingerprint
    newest_ns = max([folder_ns, *(each.modified_ns for each in session.files)])
    if now.timestamp() - newest_ns / 1e9 < SETTLED_AFTER_S:
        return fingerprint
    modified = {each.name: (each.size_bytes, each.modified_ns) for each in session.files}
    return f"{fingerprint} {_format_stat_signature(_digest_settings(settings), folder_ns, modified.get(METADATA_FILE), modified.get(GROUND_TRUTH_FILE))}"


def _find_change(
    day: str,
    entries: list[os.DirEntry[str]],
    lake: Lake,
    settings: Settings,
    now: datetime,
    settings_digest: str,
    consents: Consents,
) -> ChangedDay | None:
    published = load_day(lake, day)
    if published is not None:
        published = requeue_newly_consented_sessions(lake, published, consents)
    known: Mapping[str, str] = published.inputs if published else {}
    present: dict[str, str] = {}
    updated_signatures: dict[str, str] = {}
    changed = False
    for entry in entries:
        known_signature = known.get(entry.name, "")
        fingerprint, _, stat_signature = known_signature.partition(" ")
        if stat_signature and stat_signature == _read_stat_signature(entry, settings_digest):
            present[entry.name] = fingerprint
            continue
        try:
            session = list_session(entry, settings, now)
        except InputError:
            continue  # `ingest_day` reports it
        if session is None or session.state == "live":
            continue
        new_signature = input_signature(session, settings, now)
        present[entry.name] = new_signature.partition(" ")[0]
        if not same_fingerprint(known_signature, new_signature):
            changed = True
        elif new_signature != known_signature and " " in new_signature:
            updated_signatures[entry.name] = new_signature
    if changed:
        read_from = {name: known_signature.partition(" ")[0] for name, known_signature in known.items()}
        return ChangedDay(day, compute_digest([present, read_from]))
    if updated_signatures:
        update_input_signatures(lake, day, updated_signatures)
    return None


def _read_stat_signature(entry: os.DirEntry[str], settings_digest: str) -> str:
    """The stat_signature of a session as it stands; empty where it is no folder or is gone."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return ""
        folder_ns = os.lstat(entry.path).st_mtime_ns
    except OSError:
        return ""
    path = entry.path
    return _format_stat_signature(
        settings_digest,
        folder_ns,
        _read_size_and_mtime(f"{path}/{METADATA_FILE}"),
        _read_size_and_mtime(f"{path}/{GROUND_TRUTH_FILE}"),
    )


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
    """Short digest of the settings that decide rows."""
    chosen = settings.recordings
    return compute_digest([settings.time_zone, chosen.longest_segment_s, chosen.keep_raw_stream])[:12]
