"""A device of the app: it records, corrects and takes consents offline, and sends when it can."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from habla_ml.client.back_off import BackOff
from habla_ml.client.connection import ServiceConnection
from habla_ml.client.problems import UnrecordedConsentError
from habla_ml.client.queue import OfflineQueue
from habla_ml.client.updates import is_app_new_enough, is_in_rollout
from habla_ml.client.upload import QueueUpload, UploadReport, send_withdrawal
from habla_ml.client.wire import (
    ConsentReply,
    ContributorRecord,
    DataPointStatus,
    LatestModel,
    OfferedConsentText,
    SentConsent,
    SentDataPoint,
)


class DeviceClient:
    """A device with its queue in `folder`. One process uses a folder at a time; each method may be killed at any point.

    Methods that need the service raise `ServiceUnreachableError`, or a `ProblemReceivedError`.
    """

    def __init__(self, url: str, folder: Path, app_version: str, retry: BackOff | None = None) -> None:
        self.queue = OfflineQueue(folder)
        self._app_version = app_version
        self._connection = ServiceConnection(url, self.queue.read_value("token"), retry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the queue and the connection."""
        self._connection.close()
        self.queue.close()

    @property
    def is_enrolled(self) -> bool:
        """Whether the device has a token."""
        return self.queue.read_value("token") is not None

    def enrol(self, code: str) -> None:
        """Exchange a code for the device's token, which is kept in the queue's folder.

        Where the answer was lost, enrol with the same code again, also after a restart.
        """
        key = self.queue.read_value("enrolment_key") or secrets.token_urlsafe(32)
        self.queue.write_value("enrolment_key", key)
        enrolment = self._connection.enrol(code, key)
        self.queue.write_value("token", enrolment.token)

    def list_consent_texts(self) -> tuple[OfferedConsentText, ...]:
        """Return the texts to show before a person consents, in all their languages."""
        return self._connection.list_consent_texts()

    def consent(
        self, text: OfferedConsentText, contributor: str, *, minor: bool = False, guardian: bool = False
    ) -> SentConsent:
        """Queue the consent of a contributor, by pseudonym, to a text that the person saw.

        A minor's consent stands only if a guardian consented too.
        """
        return self.queue.add_consent(text, contributor, minor=minor, guardian=guardian)

    def withdraw(self, contributor: str) -> ConsentReply | None:
        """Delete all that the device has of a contributor, then withdraw in the service, which starts its erasure there.

        Without an answer of the service, the deletion is done, and the next `upload` sends the withdrawal. A repeat
        returns the present state. Returns None if the consent was never sent. Raises `UnrecordedConsentError` if the
        service has no consent of the contributor from this device.
        """
        self.queue.withdraw(contributor)
        consents = self.queue.consents.list_of_contributor(contributor)
        replies = [send_withdrawal(self._connection, self.queue, each) for each in consents]
        known = [each for each in replies if each is not None]
        if not known and (not consents or any(each.uploaded for each in consents)):
            raise UnrecordedConsentError(
                "the service has no consent of this contributor from this device; everything here is deleted, and a "
                "person withdraws it on the page of the service"
            )
        return known[-1] if known else None

    def read_contributor(self, contributor: str) -> ContributorRecord:
        """Return what the service holds of a contributor whose consent this device recorded."""
        return self._connection.read_contributor(contributor)

    def export_contributor(self, contributor: str, path: Path) -> None:
        """Save a ZIP archive with all that the service holds of a contributor whose consent this device recorded."""
        self._connection.export_contributor(contributor, path)

    def record(
        self, audio: bytes, session: str, contributor: str | None = None, recorded_at: datetime | None = None
    ) -> str:
        """Queue an audio file of any common format; return its id. `contributor` is a pseudonym.

        Raises `WithdrawnConsentError` if the contributor withdrew on this device.
        """
        return self.queue.add_recording(audio, session, contributor, recorded_at)

    def correct(
        self, recording_id: str, text: str, status: DataPointStatus = "corrected", **fields: Any
    ) -> SentDataPoint:
        """Queue what a person made of a recording; `fields` are further fields of `SentDataPoint`.

        Raises `UnknownRecordingError` if the recording is not on the device.
        """
        return self.queue.add_data_point(recording_id, text, status, **{"appVersion": self._app_version, **fields})

    def upload(self) -> UploadReport:
        """Send what waits: withdrawals, consents, recordings, and the corrections of those that the service has.

        A refused item never stops others. Audio is deleted once the service has acknowledged it. What has no consent
        stays; all of it is deleted if the service answers that the consent of this device was withdrawn elsewhere.
        """
        return QueueUpload(self._connection, self.queue).run()

    def find_update(self, platform: str, current: str = "", channel: str = "") -> LatestModel | None:
        """Return the model that the service offers, or None; `ModelUpdater` verifies and installs it.

        An answer with a smaller sequence number than an earlier one is outdated, and is ignored.
        """
        found = self._connection.find_update(platform, self._app_version, current, channel)
        if found is None or not is_app_new_enough(self._app_version, found.minimumAppVersion):
            return None
        name = f"sequence of {found.channel}"
        if found.sequence < int(self.queue.read_value(name) or 0):
            return None
        self.queue.write_value(name, str(found.sequence))
        is_chosen = is_in_rollout(self.get_installation(), found.version, found.rolloutPercent)
        return found if is_chosen and found.version != current else None

    def get_installation(self) -> str:
        """Return a random id that never leaves the device."""
        known = self.queue.read_value("installation")
        if known is None:
            known = str(uuid.uuid4())
            self.queue.write_value("installation", known)
        return known
