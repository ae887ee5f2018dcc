"""The offline queue of a device: clips, corrections and consents that wait for the service, in a folder of the app.

    queue.sqlite        enrolment, consents, recordings, data points
    clips/<id>          audio that the service has not acknowledged

A clip's file is complete and flushed before its row exists, and is deleted only after its row says `uploaded`. A file
without such a row was left by a crash, and is removed when the queue is opened. One process uses a queue at a time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from habla_ml.client.problems import UnknownRecordingError, WithdrawnConsentError
from habla_ml.client.queued_consents import CONSENT_TABLE, QueuedConsents
from habla_ml.client.wire import DataPointStatus, OfferedConsentText, SentConsent, SentDataPoint
from habla_ml.names import canonical_name

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS enrolment (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS recording (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, contributor TEXT, session TEXT NOT NULL, recorded_at TEXT,
    uploaded INTEGER NOT NULL DEFAULT 0, refusal TEXT);
CREATE TABLE IF NOT EXISTS fine_tuning_data_point (
    id TEXT PRIMARY KEY, recording_item_id TEXT NOT NULL REFERENCES recording(id) ON DELETE CASCADE,
    document TEXT NOT NULL, uploaded INTEGER NOT NULL DEFAULT 0, refusal TEXT);
CREATE INDEX IF NOT EXISTS waiting_recording ON recording (uploaded) WHERE uploaded = 0;
CREATE INDEX IF NOT EXISTS waiting_data_point ON fine_tuning_data_point (uploaded) WHERE uploaded = 0;
"""
_OF_CONTRIBUTOR: Final = "contributor IS NOT NULL AND canonical_name(contributor) = ?"


@dataclass(frozen=True)
class QueuedRecording:
    """A clip that waits."""

    id: str
    path: Path
    sha256: str
    contributor: str | None
    session: str
    recorded_at: datetime | None


@dataclass(frozen=True)
class FineTuningDataPoint:
    """A correction, and whether the service has it."""

    sent: SentDataPoint
    uploaded: bool
    refusal: str | None
    """Type of the problem for which the service refused it; None if it did not."""


class OfflineQueue:
    """Consents, recordings and corrections of a device. Each change is durable when its method returns."""

    def __init__(self, folder: Path) -> None:
        self._clips = folder / "clips"
        self._clips.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection = sqlite3.connect(folder / "queue.sqlite", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.create_function("canonical_name", 1, canonical_name, deterministic=True)
        self._connection.executescript(_SCHEMA + CONSENT_TABLE)
        self.consents = QueuedConsents(self._connection)
        self._remove_leftovers()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def read_value(self, name: str) -> str | None:
        """Return a value of the enrolment, such as `token`."""
        row = self._connection.execute("SELECT value FROM enrolment WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def write_value(self, name: str, value: str) -> None:
        """Keep a value of the enrolment."""
        self._connection.execute("INSERT OR REPLACE INTO enrolment VALUES (?, ?)", (name, value))

    def add_recording(
        self, data: bytes, session: str, contributor: str | None = None, recorded_at: datetime | None = None
    ) -> str:
        """Queue the bytes of an audio file; return the id of the recording.

        Raises `WithdrawnConsentError` if the contributor withdrew on this device.
        """
        if contributor is not None and self.consents.is_withdrawn(contributor):
            raise WithdrawnConsentError("the contributor withdrew; nothing is recorded before a new consent")
        recording_id = str(uuid.uuid4())
        path = self._clips / recording_id
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _flush_folder(self._clips)
        moment = None if recorded_at is None else recorded_at.astimezone(UTC).isoformat()
        digest = hashlib.sha256(data).hexdigest()
        self._connection.execute(
            "INSERT INTO recording (id, sha256, contributor, session, recorded_at) VALUES (?, ?, ?, ?, ?)",
            (recording_id, digest, contributor, session, moment),
        )
        return recording_id

    def add_data_point(
        self, recording_id: str, text: str, status: DataPointStatus = "corrected", **fields: Any
    ) -> SentDataPoint:
        """Queue a correction of a recording; `fields` are further fields of `SentDataPoint`. Return the data point.

        Raises `UnknownRecordingError` if the recording is not on the device.
        """
        base = {"id": str(uuid.uuid4()), "timestamp": datetime.now(UTC), "status": status}
        named = {"recordingItemID": recording_id, "correctedTranscription": text}
        point = SentDataPoint.model_validate({**base, **named, **fields})
        try:
            self._connection.execute(
                "INSERT INTO fine_tuning_data_point (id, recording_item_id, document) VALUES (?, ?, ?)",
                (point.id, recording_id, point.model_dump_json()),
            )
        except sqlite3.IntegrityError:
            raise UnknownRecordingError(f"recording {recording_id} is not on this device; record it again") from None
        return point

    def add_consent(self, text: OfferedConsentText, contributor: str, *, minor: bool, guardian: bool) -> SentConsent:
        """Queue the consent of a contributor to a text that the person saw."""
        consent = SentConsent(
            id=str(uuid.uuid4()),
            contributor=contributor,
            document=text.document,
            documentVersion=text.version,
            documentDigest=text.digest,
            minor=minor,
            guardian=guardian,
            givenAt=datetime.now(UTC),
        )
        self.consents.add(consent)
        return consent

    def withdraw(self, contributor: str) -> None:
        """Delete all recordings, audio and data points of a contributor, and queue the withdrawal of the consents."""
        key = canonical_name(contributor)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self.consents.withdraw(contributor)
            found = self._connection.execute(f"SELECT id FROM recording WHERE {_OF_CONTRIBUTOR}", (key,))  # noqa: S608
            ids = [recording_id for (recording_id,) in found]
            self._connection.execute(f"DELETE FROM recording WHERE {_OF_CONTRIBUTOR}", (key,))  # noqa: S608
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        for each in ids:  # the queue's next opening removes what a crash leaves here
            (self._clips / each).unlink(missing_ok=True)
        self._purge_log()

    def list_waiting_recordings(self) -> list[QueuedRecording]:
        """Return the recordings to send, in the order in which they came."""
        rows = self._connection.execute(
            "SELECT id, sha256, contributor, session, recorded_at FROM recording"
            " WHERE uploaded = 0 AND refusal IS NULL ORDER BY rowid"
        )
        return [
            QueuedRecording(
                id_, self._clips / id_, sha256, who, session, None if at is None else datetime.fromisoformat(at)
            )
            for id_, sha256, who, session, at in rows
        ]

    def list_waiting_data_points(self, most: int, after: str = "") -> list[SentDataPoint]:
        """Return up to `most` data points whose recording was sent, by id from `after` on."""
        rows = self._connection.execute(
            "SELECT point.document FROM fine_tuning_data_point AS point JOIN recording ON recording.id = recording_item_id"
            " WHERE point.uploaded = 0 AND point.refusal IS NULL AND recording.uploaded = 1 AND point.id > ?"
            " ORDER BY point.id LIMIT ?",
            (after, most),
        )
        return [SentDataPoint.model_validate_json(document) for (document,) in rows]

    def find_contributor(self, recording_id: str) -> str | None:
        """Return the contributor of a recording; None if there is none."""
        query = "SELECT contributor FROM recording WHERE id = ?"
        row = self._connection.execute(query, (recording_id,)).fetchone()
        return None if row is None else row[0]

    def list_data_points(self) -> list[FineTuningDataPoint]:
        """Return all data points, in the order in which they came."""
        rows = self._connection.execute("SELECT document, uploaded, refusal FROM fine_tuning_data_point ORDER BY rowid")
        return [FineTuningDataPoint(SentDataPoint.model_validate_json(row[0]), bool(row[1]), row[2]) for row in rows]

    def list_refused_recordings(self) -> dict[str, str]:
        """Return the types of the problems of refused recordings, by id."""
        return dict(self._connection.execute("SELECT id, refusal FROM recording WHERE refusal IS NOT NULL").fetchall())

    def confirm_recording(self, recording_id: str) -> None:
        """Record the acknowledgement of a recording, then delete its audio."""
        self._connection.execute("UPDATE recording SET uploaded = 1, refusal = NULL WHERE id = ?", (recording_id,))
        (self._clips / recording_id).unlink(missing_ok=True)

    def refuse_recording(self, recording_id: str, problem: str) -> None:
        """Record that the service refused a recording for good; its audio is kept until `retry_refused`."""
        self._connection.execute("UPDATE recording SET refusal = ? WHERE id = ?", (problem, recording_id))

    def confirm_data_points(self, ids: Sequence[str]) -> None:
        """Record the acknowledgement of data points."""
        self._connection.executemany(
            "UPDATE fine_tuning_data_point SET uploaded = 1, refusal = NULL WHERE id = ?", [(each,) for each in ids]
        )

    def refuse_data_point(self, point_id: str, problem: str) -> None:
        """Record that the service refused a data point for good."""
        self._connection.execute("UPDATE fine_tuning_data_point SET refusal = ? WHERE id = ?", (problem, point_id))

    def retry_refused(self, problem: str) -> None:
        """Queue again what was refused with this type, after its cause was removed."""
        for table in ("recording", "fine_tuning_data_point"):
            self._connection.execute(f"UPDATE {table} SET refusal = NULL WHERE refusal = ?", (problem,))  # noqa: S608

    def forget_recording(self, recording_id: str) -> None:
        """Delete a recording with its audio and data points."""
        self._connection.execute("DELETE FROM recording WHERE id = ?", (recording_id,))
        (self._clips / recording_id).unlink(missing_ok=True)
        self._purge_log()

    def _purge_log(self) -> None:
        """Overwrite what was deleted, which SQLite's log of changes still has."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _remove_leftovers(self) -> None:
        needed = {row[0] for row in self._connection.execute("SELECT id FROM recording WHERE uploaded = 0")}
        for path in self._clips.iterdir():
            if path.name not in needed:
                path.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
