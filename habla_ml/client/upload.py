"""One upload of what waits in a device's queue: withdrawals, consents, recordings, then the corrections of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from habla_ml.client.connection import ServiceConnection
from habla_ml.client.problems import (
    ItemErasedError,
    NoConsentError,
    ProblemReceivedError,
    UnknownItemError,
)
from habla_ml.client.queue import OfflineQueue, QueuedRecording
from habla_ml.client.queued_consents import QueuedConsent
from habla_ml.client.wire import ConsentReply, ItemReply, SentDataPoint
from habla_ml.names import canonical_name

ITEMS_PER_BATCH: Final = 100
UNREADABLE_AUDIO: Final = "unreadable-audio"
"""In place of the type of a problem of the service: the device has lost the audio of the recording, or cannot read it."""


@dataclass(frozen=True)
class UploadReport:
    """What one upload sent, and what is left."""

    recordings: int
    data_points: int
    refused: int
    """Items that the service refused for good, or whose audio cannot be read here, in this upload."""
    consents: int = 0
    """Consents that the service recorded."""
    without_consent: frozenset[str] = frozenset()
    """Contributors without a consent that stands. What waits for it stays on the device, and is sent after it."""


class QueueUpload:
    """Sends the content of a queue once. A refused item never stops others; an outage ends the upload with its error."""

    def __init__(self, connection: ServiceConnection, queue: OfflineQueue) -> None:
        self._connection = connection
        self._queue = queue
        self._refused = 0
        self._without_consent: dict[str, str] = {}
        """Pseudonyms as typed, by their canonical form."""
        self._checked: set[str] = set()
        """Canonical pseudonyms of which the consents of this device were looked at."""

    def run(self) -> UploadReport:
        """Send everything; raises `ServiceUnreachableError` or a `ProblemReceivedError` that can pass."""
        for withdrawn in self._queue.consents.list_waiting_withdrawals():
            self._refused += send_withdrawal(self._connection, self._queue, withdrawn) is None and withdrawn.uploaded
        consents = sum(self._send_consent(each) for each in self._queue.consents.list_waiting())
        recordings = sum(self._send_recording(each) for each in self._queue.list_waiting_recordings())
        data_points = self._send_data_points()
        return UploadReport(recordings, data_points, self._refused, consents, frozenset(self._without_consent.values()))

    def _send_consent(self, consent: QueuedConsent) -> bool:
        try:
            reply = self._connection.record_consent(consent.sent)
        except ProblemReceivedError as error:
            if not error.is_about_item:
                raise
            # A retryable conflict passes with the erasure of an earlier withdrawal, or once the clock is right.
            if not error.is_retryable:
                self._queue.consents.refuse(consent.sent.id, error.type)
                self._refused += 1
            return False
        self._queue.consents.confirm(consent.sent.id)
        self._follow_withdrawal(reply)
        return True

    def _send_recording(self, each: QueuedRecording) -> bool:
        if each.contributor is not None and self._lacks_consent(each.contributor):
            return False
        try:
            self._connection.put_clip(each.id, each.path, each.sha256, each.session, each.contributor, each.recorded_at)
        except ItemErasedError:
            self._queue.forget_recording(each.id)
            self._refused += 1
        except OSError:
            self._queue.refuse_recording(each.id, UNREADABLE_AUDIO)
            self._refused += 1
        except ProblemReceivedError as error:
            if not error.is_about_item:
                raise
            if isinstance(error, NoConsentError) and each.contributor is not None:
                self._wait_for_consent(each.contributor)
            else:
                self._queue.refuse_recording(each.id, error.type)
                self._refused += 1
        else:
            self._queue.confirm_recording(each.id)
            return True
        return False

    def _send_data_points(self) -> int:
        kept, after = 0, ""
        while points := self._queue.list_waiting_data_points(ITEMS_PER_BATCH, after):
            after = points[-1].id
            results = self._connection.post_batch(points).results
            self._queue.confirm_data_points([points[each.index].id for each in results if each.is_kept])
            kept += sum(each.is_kept for each in results)
            refused = [(points[each.index], each) for each in results if not each.is_kept and not each.retryable]
            contributors = [self._queue.find_contributor(point.recordingItemID) for point, _ in refused]
            for (point, result), contributor in zip(refused, contributors, strict=True):
                self._refuse_data_point(point, result, contributor)
        return kept

    def _refuse_data_point(self, point: SentDataPoint, result: ItemReply, contributor: str | None) -> None:
        if result.type == NoConsentError.get_type() and contributor is not None:
            self._wait_for_consent(contributor)
            return
        if result.type == ItemErasedError.get_type():
            self._queue.forget_recording(point.recordingItemID)
        else:
            self._queue.refuse_data_point(point.id, result.type or "about:blank")
        self._refused += 1

    def _lacks_consent(self, contributor: str) -> bool:
        """Return whether clips of a contributor wait: no consent stands, or the service has refused each one of this device.

        The consent of another person, with the same pseudonym on another device, is none of this person.
        """
        key = canonical_name(contributor)
        if key not in self._checked:
            self._checked.add(key)
            consents = self._queue.consents.list_of_contributor(contributor)
            if consents and all(each.refusal is not None for each in consents):
                self._without_consent[key] = contributor
        return key in self._without_consent

    def _wait_for_consent(self, contributor: str) -> None:
        """Keep what a contributor without a standing consent has here, unless a person withdrew it on the service's page.

        The service then answers a repeat of the consent, which this device recorded, with the time of the withdrawal.
        """
        key = canonical_name(contributor)
        if key in self._without_consent:
            return
        self._without_consent[key] = contributor
        valid = [each for each in self._queue.consents.list_of_contributor(contributor) if each.refusal is None]
        # A newer consent that waits for the erasure keeps what was recorded after it.
        if valid and valid[-1].uploaded and valid[-1].withdrawal is None:
            try:
                self._follow_withdrawal(self._connection.record_consent(valid[-1].sent))
            except ProblemReceivedError as error:
                # Its text is no longer in use, or an earlier enrolment of this device recorded it.
                if not error.is_about_item:
                    raise

    def _follow_withdrawal(self, reply: ConsentReply) -> None:
        if reply.withdrawnAt is None:
            return
        self._queue.withdraw(reply.contributor)
        for each in self._queue.consents.list_of_contributor(reply.contributor):
            self._queue.consents.settle_withdrawal(each.sent.id, "sent")


def send_withdrawal(
    connection: ServiceConnection, queue: OfflineQueue, withdrawn: QueuedConsent
) -> ConsentReply | None:
    """Send the withdrawal of a consent; return None if the service knows no such consent of this device."""
    try:
        reply = connection.withdraw_consent(withdrawn.sent.id)
    except UnknownItemError:
        # One that was never sent is settled; one that was sent by an earlier enrolment is not this device's any more.
        queue.consents.settle_withdrawal(withdrawn.sent.id, "refused" if withdrawn.uploaded else "sent")
        return None
    queue.consents.settle_withdrawal(withdrawn.sent.id, "sent")
    return reply
