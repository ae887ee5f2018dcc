"""A device of the app: it records and corrects offline, and sends when it can."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from habla_ml.client.back_off import BackOff
from habla_ml.client.connection import ServiceConnection
from habla_ml.client.problems import (
    ItemErasedError,
    ProblemReceivedError,
    UnauthenticatedError,
)
from habla_ml.client.queue import OfflineQueue, QueuedRecording
from habla_ml.client.updates import is_app_new_enough, is_in_rollout
from habla_ml.client.wire import DataPointStatus, ItemReply, LatestModel, SentDataPoint

ITEMS_PER_BATCH: Final = 100
_ERASED: Final = f"/problems/{ItemErasedError.name}"


@dataclass(frozen=True)
class UploadReport:
    """What one upload sent, and what is left."""

    recordings: int
    data_points: int
    refused: int
    """Items that the service refused for good, in this upload."""


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
        """Exchange a code for the device's token, which is kept in the queue's folder."""
        enrolment = self._connection.enrol(code)
        self.queue.write_value("token", enrolment.token)

    def record(
        self, audio: bytes, session: str, contributor: str | None = None, recorded_at: datetime | None = None
    ) -> str:
        """Queue an audio file of any common format; return its id. `contributor` is a pseudonym."""
        return self.queue.add_recording(audio, session, contributor, recorded_at)

    def correct(
        self, recording_id: str, text: str, status: DataPointStatus = "corrected", **fields: Any
    ) -> SentDataPoint:
        """Queue what a person made of a recording; `fields` are further fields of `SentDataPoint`."""
        return self.queue.add_data_point(recording_id, text, status, **{"appVersion": self._app_version, **fields})

    def upload(self) -> UploadReport:
        """Send what waits: first the recordings, then the corrections of those that the service has.

        A refused item never stops others. Audio is deleted once the service has acknowledged it.
        """
        recordings, refused = 0, 0
        for each in self.queue.list_waiting_recordings():
            is_kept = self._send_recording(each)
            recordings += is_kept
            refused += not is_kept
        data_points, refused_points = self._send_data_points()
        return UploadReport(recordings, data_points, refused + refused_points)

    def find_update(self, platform: str, current: str = "", channel: str = "") -> LatestModel | None:
        """Return the model to install, or None; the app checks the zip's sha256 after the download.

        An answer with a smaller sequence number than an earlier one is outdated, and is ignored.
        """
        found = self._connection.find_update(platform, self._app_version, current, channel)
        if found is None or not is_app_new_enough(self._app_version, found.minimumAppVersion):
            return None
        name = f"sequence of {found.channel}"
        if found.sequence < int(self.queue.read_value(name) or 0):
            return None
        self.queue.write_value(name, str(found.sequence))
        is_chosen = is_in_rollout(self._get_installation(), found.version, found.rolloutPercent)
        return found if is_chosen and found.version != current else None

    def _get_installation(self) -> str:
        """Return a random id that never leaves the device."""
        known = self.queue.read_value("installation")
        if known is None:
            known = str(uuid.uuid4())
            self.queue.write_value("installation", known)
        return known

    def _send_recording(self, each: QueuedRecording) -> bool:
        try:
            self._connection.put_clip(each.id, each.path, each.sha256, each.session, each.contributor, each.recorded_at)
        except UnauthenticatedError:
            raise
        except ItemErasedError:
            self.queue.forget_recording(each.id)
            return False
        except ProblemReceivedError as error:
            if error.is_retryable:
                raise
            self.queue.refuse_recording(each.id, error.type)
            return False
        self.queue.confirm_recording(each.id)
        return True

    def _send_data_points(self) -> tuple[int, int]:
        kept, refused, after = 0, 0, ""
        while points := self.queue.list_waiting_data_points(ITEMS_PER_BATCH, after):
            after = points[-1].id
            results = self._connection.post_batch(points).results
            self.queue.confirm_data_points([points[each.index].id for each in results if each.is_kept])
            for each in results:
                kept += each.is_kept
                if not each.is_kept and not each.retryable:
                    self._refuse(points[each.index], each)
                    refused += 1
        return kept, refused

    def _refuse(self, point: SentDataPoint, result: ItemReply) -> None:
        if result.type == _ERASED:
            self.queue.forget_recording(point.recordingItemID)
        else:
            self.queue.refuse_data_point(point.id, result.type or "about:blank")
