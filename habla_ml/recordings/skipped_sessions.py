"""List the entries of Habla's folder that are not ingested, with the reason; opens no file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from habla_ml.errors import InputError
from habla_ml.names import escape_name
from habla_ml.recordings.day_range import explain_day_outside, is_clock_wrong, is_day_inside
from habla_ml.recordings.sessions import (
    METADATA_FILE,
    NOT_A_SESSION,
    Skipped,
    list_folder,
    list_session,
    list_session_days,
    parse_session_day,
    require_folder,
)
from habla_ml.settings import Settings


def find_skipped_sessions(folder: Path, settings: Settings, now: datetime) -> list[Skipped]:
    """Return the sessions and other entries that no day includes, sorted by name.

    These are dated before `recordings.first_day` or after today, have no name of a session, are links or plain files,
    or cannot be listed. Hidden entries are left out. Faults inside a session are reported by its day. Raises
    `InputError` if the recordings folder cannot be listed.
    """
    entries = [each for each in list_folder(folder) if not each.name.startswith(".")]
    reasons = ((each.name, _explain_skip(each, settings, now)) for each in entries)
    return [Skipped(escape_name(name), "", reason) for name, reason in reasons if reason is not None]


def find_live_sessions(folder: Path, settings: Settings, now: datetime) -> list[Skipped]:
    """Return the sessions that an ingest leaves for later, because they look as if they were being recorded.

    Lists only sessions without metadata.json. A copied session can be among them, since its files have the time of the
    copy. Raises `InputError` if the recordings folder cannot be listed.
    """
    found, wait_h = [], settings.recordings.crashed_after_hours
    reason = (
        f"has no metadata.json and changed less than {wait_h:g} h ago, so that it may still be recorded; import it again "
        "after that, or lower recordings.crashed_after_hours"
    )
    for day, entries in list_session_days(folder).items():
        for entry in entries if is_day_inside(day, settings, now) else ():
            if not os.access(f"{entry.path}/{METADATA_FILE}", os.F_OK) and _is_live(entry, settings, now):
                found.append(Skipped(entry.name, "", reason))
    return sorted(found, key=lambda each: each.session)


def _is_live(entry: os.DirEntry[str], settings: Settings, now: datetime) -> bool:
    try:
        session = list_session(entry, settings, now)
    except InputError:
        return False  # its day reports it
    return session is not None and session.state == "live"


def summarise_wrong_dates(folder: Path, settings: Settings, now: datetime) -> str:
    """Return in a line which sessions a wrong clock has dated, from their names only; empty if there is none.

    Sessions before `recordings.first_day` are left out, unless the clock was reset. Raises `InputError` if the folder
    cannot be listed.
    """
    days = {day: each for day, each in list_session_days(folder).items() if is_clock_wrong(day, settings, now)}
    wrong = {entry.name: day for day, entries in days.items() for entry in entries}
    if not wrong:
        return ""
    first = min(wrong)
    reason = explain_day_outside(wrong[first], settings, now)
    return f"{len(wrong)} not ingested, `{settings.command('doctor')}` lists them; {first} {reason}"


def _explain_skip(entry: os.DirEntry[str], settings: Settings, now: datetime) -> str | None:
    day = parse_session_day(entry.name)
    if day is None:
        return NOT_A_SESSION
    try:
        require_folder(entry)
        with os.scandir(entry.path):
            pass
    except FileNotFoundError:
        return None  # Habla has deleted it
    except OSError as error:
        return f"cannot be listed: {error.strerror}; fix its permissions"
    except InputError as error:
        return str(error)
    return explain_day_outside(day, settings, now)
