"""Keep the clips that devices send: the file first, durably, then its row, then the acknowledgement.

A crash between file and row leaves a file that no row names; `sweep_clip_files` removes it later. Each attempt has a file
of its own, so that an attempt that is refused never removes the file of another one.

The id of a clip is derived from the device and the id that it sent. A device therefore never learns which ids another
device uses, nor can it take them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from habla_ml.errors import InputError, LakeError
from habla_ml.inbox.clip_files import CLIP_PREFIX, get_clip_id, make_clip_key
from habla_ml.inbox.consents import find_missing_consents, get_contributor_key, hold_consents
from habla_ml.inbox.database import Database
from habla_ml.inbox.group_commit import GroupCommit
from habla_ml.inbox.schema import CLIPS, DEVICES
from habla_ml.lake import Store, StoreEntry
from habla_ml.settings.data import ConsentSettings

_FILES_PER_QUERY: Final = 500
_FEW_FILES: Final = 10
"""So many files without a row are removed in any case."""
_MOST_REMOVED: Final = 100_000
"""Files without a row that one sweep removes; the next one removes others."""
# Made once: each upload runs them, and making a statement takes longer than running it.
_IDS: Final[Any] = bindparam("ids", expanding=True)
_KNOWN_CLIPS: Final = select(CLIPS.c.clip_id, CLIPS.c.sha256, CLIPS.c.erased_at).where(CLIPS.c.clip_id.in_(_IDS))
_REVOKED_DEVICES: Final = select(DEVICES.c.device_id).where(
    DEVICES.c.device_id.in_(_IDS), DEVICES.c.revoked_at.is_not(None)
)
_NEW_ROWS: Final = insert(CLIPS)


@dataclass(frozen=True)
class NewClip:
    """A clip that a device sends."""

    sent_id: str
    """A UUID that the device chose."""
    sha256: str
    """Of the file as it was sent, in hex."""
    device_id: str
    contributor: str | None
    """A pseudonym, as typed."""
    session: str
    recorded_at: datetime | None
    received_at: datetime

    @cached_property
    def clip_id(self) -> str:
        """The id under which it is kept."""
        return derive_clip_id(self.device_id, self.sent_id)


class ClipConflictError(InputError):
    """The device used the id for other bytes."""


class ClipErasedError(InputError):
    """The clip was received and has been erased since; it is not stored again."""


class ConsentMissingError(InputError):
    """The contributor has no standing consent and the settings require one, or withdrew."""


def derive_clip_id(device_id: str, sent_id: str) -> str:
    """Return the id under which a device's clip is kept; raises `ValueError` if an id is no UUID."""
    return str(uuid.uuid5(uuid.UUID(device_id), str(uuid.UUID(sent_id))))


def format_hour(moment: datetime) -> str:
    """Return the UTC hour of a moment, such as `2026-11-29T06`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


def is_clip_held(connection: Connection, clip: NewClip, consent: ConsentSettings) -> bool:
    """Return whether the clip is held already, or False if it may be stored.

    Raises:
        ClipConflictError: The device used the id for other bytes.
        ClipErasedError: The clip was erased.
        ConsentMissingError: The contributor has no standing consent and one is required, or withdrew.
    """
    (found,) = _check_clips(connection, [clip], consent)
    if isinstance(found, InputError):
        raise found
    return found


class DeviceRevokedError(InputError):
    """The device was revoked while it sent the clip."""


class ClipReceiver:
    """Keeps clips durably; threads that call it at the same time share a commit of the database."""

    def __init__(self, database: Database, store: Store, consent: ConsentSettings) -> None:
        self._store = store
        self._rows = GroupCommit[_StoredFile, bool | InputError](partial(_add_rows, database, consent))

    def receive(self, clip: NewClip, content: bytes | Path) -> bool:
        """Keep a clip durably; return True if it is new, or False if it was held already.

        `content` has the bytes whose sha256 the clip names. The store can keep a file itself: do not write to it again.
        Raises `DeviceRevokedError` and the errors of `is_clip_held`, after which nothing of this attempt is left, and
        `LakeError` if the store or the database cannot be used.
        """
        key = make_clip_key(clip.clip_id)
        # After an error here the row may be there, so the file stays; without a row the sweep removes it.
        outcome = self._rows.run(lambda: self._store_file(clip, key, content))
        if outcome is not True:
            self._store.delete(key)
        if isinstance(outcome, InputError):
            raise outcome
        return outcome

    def _store_file(self, clip: NewClip, key: str, content: bytes | Path) -> _StoredFile:
        if isinstance(content, bytes):
            self._store.put_new(key, content, clip.sha256)
            return _StoredFile(clip, key, len(content))
        self._store.adopt_if_absent(key, content, clip.sha256)
        return _StoredFile(clip, key, content.stat().st_size)


def sweep_clip_files(database: Database, store: Store, before: datetime) -> int:
    """Remove the files that no row names and that were written before this time; return their number.

    An upload writes its file and then its row: choose a time that no upload in progress can have begun before. Reads the
    listing of all files. Raises `LakeError` if the store or the database cannot be used. So it does, and removes nothing,
    if most of the files are of clips without a row: killed uploads leave few, so the database is another one than that of
    the files. A file of an erased clip has a row, and is removed: a copy of the disk can have brought it back.
    """
    old = (each for each in store.list(CLIP_PREFIX) if each.modified_at < before)
    orphans, number, named = list[str](), 0, 0
    while part := list(islice(old, _FILES_PER_QUERY)):
        found, unknown = _find_orphans(database, part)
        number, named = number + unknown, named + len(part) - unknown
        orphans += found[: _MOST_REMOVED - len(orphans)]
    if number > max(named, _FEW_FILES):
        raise LakeError(
            f"{number} of {number + named} clips in {store.url} have no row in the service's database, so it may be another "
            "one; none was removed. Correct service.database, restore the database, or move these files away"
        )
    return sum(store.delete(key, before) for key in orphans)


def sweep_incoming(folder: Path, before: datetime) -> int:
    """Remove the bodies that killed workers left before this time; return their number.

    Raises `LakeError` if one cannot be removed.
    """
    removed = 0
    try:
        for each in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # its upload has just ended
                if each.stat().st_mtime < before.timestamp():
                    each.unlink()
                    removed += 1
    except OSError as error:
        raise LakeError(f"{folder} cannot be cleaned: {error.strerror}; fix its permissions") from error
    return removed


@dataclass(frozen=True)
class _StoredFile:
    """A clip whose file is durable and whose row is to be added."""

    clip: NewClip
    key: str
    size_bytes: int

    def build_row(self) -> dict[str, Any]:
        clip = self.clip
        return {
            "clip_id": clip.clip_id,
            "file_key": self.key,
            "sha256": clip.sha256,
            "size_bytes": self.size_bytes,
            "device_id": clip.device_id,
            "contributor": clip.contributor,
            "contributor_key": None if clip.contributor is None else get_contributor_key(clip.contributor),
            "session": clip.session,
            "recorded_at": clip.recorded_at,
            "received_at": clip.received_at,
            "hour": format_hour(clip.received_at),
        }


def _add_rows(database: Database, consent: ConsentSettings, files: Sequence[_StoredFile]) -> list[bool | InputError]:
    """Add the rows of clips in one transaction; return for each whether it is new, or why it is refused."""
    return database.change(lambda connection: _insert_rows(connection, consent, files))


def _insert_rows(
    connection: Connection, consent: ConsentSettings, files: Sequence[_StoredFile]
) -> list[bool | InputError]:
    outcomes: list[bool | InputError] = []
    rows: dict[str, dict[str, Any]] = {}
    hold_consents(connection, (each.clip.contributor for each in files))
    revoked = set(connection.scalars(_REVOKED_DEVICES, {"ids": list({each.clip.device_id for each in files})}))
    found = _check_clips(connection, [each.clip for each in files], consent)
    for file, held in zip(files, found, strict=True):
        first = rows.get(file.clip.clip_id)
        if file.clip.device_id in revoked:
            outcomes.append(DeviceRevokedError("the device was revoked"))
        elif held is False and first is None:
            rows[file.clip.clip_id] = file.build_row()
            outcomes.append(True)
        elif held is False and first is not None:
            outcomes.append(_compare(file.clip, first["sha256"]) or False)
        else:
            outcomes.append(False if held is True else held)
    if rows:
        connection.execute(_NEW_ROWS, [rows[clip_id] for clip_id in sorted(rows)])
    return outcomes


def _check_clips(connection: Connection, clips: Sequence[NewClip], consent: ConsentSettings) -> list[bool | InputError]:
    """Return for each clip whether it is held, or why it is refused."""
    known = {row.clip_id: row for row in connection.execute(_KNOWN_CLIPS, {"ids": [each.clip_id for each in clips]})}
    new = {each.contributor for each in clips if each.clip_id not in known}
    refused = find_missing_consents(connection, new, consent)
    outcomes: list[bool | InputError] = []
    for clip in clips:
        row = known.get(clip.clip_id)
        if row is None:
            outcomes.append(_refuse_consent(clip) if clip.contributor in refused else False)
        elif row.erased_at is not None:
            outcomes.append(ClipErasedError(f"clip {clip.sent_id} was erased; delete it on the device too"))
        else:
            outcomes.append(_compare(clip, row.sha256) or True)
    return outcomes


def _refuse_consent(clip: NewClip) -> ConsentMissingError:
    if clip.contributor is None:
        return ConsentMissingError("the clip names no contributor; send Habla-Contributor")
    return ConsentMissingError("the contributor has no standing consent; record one first")


def _compare(clip: NewClip, sha256: str) -> ClipConflictError | None:
    if clip.sha256 == sha256:
        return None
    return ClipConflictError(f"clip {clip.sent_id} was received with other bytes; send these under a new id")


def _find_orphans(database: Database, entries: Iterable[StoreEntry]) -> tuple[list[str], int]:
    """Return the files that no row of a clip names, unless it is erased, and how many of them are of clips without a row."""
    clip_ids = {each.key: get_clip_id(each.key) for each in entries}
    query = select(CLIPS.c.clip_id, CLIPS.c.file_key, CLIPS.c.erased_at).where(CLIPS.c.clip_id.in_(clip_ids.values()))
    with database.read() as connection:
        rows = connection.execute(query).all()
    known = {row.clip_id for row in rows}
    orphans = clip_ids.keys() - {row.file_key for row in rows if row.erased_at is None}
    return sorted(orphans), sum(clip_ids[each] not in known for each in orphans)
