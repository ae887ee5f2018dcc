"""Devices that upload clips and corrections without a pause, and what they were told is kept."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select

from habla_ml.inbox.clip_files import CLIP_PREFIX
from habla_ml.inbox.clips import derive_clip_id
from habla_ml.inbox.database import Database
from habla_ml.inbox.devices import EnrolledDevice
from habla_ml.inbox.schema import CLIPS, DATA_POINTS
from habla_ml.lake import Store

_TIMEOUT_S = 30.0
_RETRY_S = 0.02
_ITEMS_PER_BATCH = 5


@dataclass
class Acknowledged:
    """What the devices were told is kept."""

    clips: dict[str, str] = field(default_factory=dict)
    """Clip → sha256."""
    data_points: dict[tuple[str, str], str] = field(default_factory=dict)
    """Device and data point → text."""
    answers: Counter[int] = field(default_factory=Counter)
    repeats: int = 0


class UploadingDevice(threading.Thread):
    """A device that sends clips of random bytes, then corrections of those that were acknowledged; repeats what fails."""

    def __init__(self, port: int, device: EnrolledDevice, contributor: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged = Acknowledged()
        self.problem = ""
        self._port, self._device, self._contributor = port, device, contributor
        self._rng, self._is_ended = random.Random(seed), threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def end(self) -> None:
        """Finish the present request and end."""
        self._is_ended.set()
        self.join()

    def run(self) -> None:
        """Upload until the end."""
        try:
            while not self._is_ended.is_set():
                sent = [self._send_clip() for _ in range(_ITEMS_PER_BATCH)]
                self._send_corrections([each for each in sent if each])
        except Exception as error:  # noqa: BLE001 (the test reads it)
            self.problem = repr(error)
        finally:
            self._connection.close()

    def _make_id(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128), version=4))

    def _send_clip(self) -> str | None:
        sent_id, data = self._make_id(), self._rng.randbytes(self._rng.randrange(1, 60_000))
        digest = hashlib.sha256(data)
        headers = {
            "Content-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
            "Habla-Contributor": self._contributor,
            "Habla-Session": "soak",
        }
        for attempt in range(self._rng.choice((1, 100, 100))):  # a part of them is never repeated
            status = self._request("PUT", f"/v1/clips/{sent_id}", data, headers)[0]
            if status in (200, 201):
                clip_id = derive_clip_id(self._device.device.device_id, sent_id)
                self.acknowledged.clips[clip_id] = digest.hexdigest()
                self.acknowledged.repeats += attempt > 0
                return sent_id
        return None

    def _send_corrections(self, clips: list[str]) -> None:
        items: list[dict[str, Any]] = [
            {
                "id": self._make_id(),
                "recordingItemID": each,
                "correctedTranscription": f"Texto {each}.",
                "timestamp": "2026-11-29T06:20:00Z",
            }
            for each in clips
        ]
        body = json.dumps({"items": items}).encode()
        for _ in range(100):
            status, answer = self._request("POST", "/v1/batches", body, {"Content-Type": "application/json"})
            if status == 200:
                for item, result in zip(items, json.loads(answer)["results"], strict=True):
                    if result["status"] not in ("accepted", "duplicate"):
                        raise AssertionError(result)
                    key = (self._device.device.device_id, item["id"])
                    self.acknowledged.data_points[key] = item["correctedTranscription"]
                return

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, body, {**headers, "Authorization": f"Bearer {self._device.token}"})
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            time.sleep(_RETRY_S)
            return 0, b""
        self.acknowledged.answers[response.status] += 1
        if response.status not in (200, 201, 503):
            raise AssertionError(f"{response.status}: {answer[:500]!r}")
        return response.status, answer


def find_lost_or_doubled(database: Database, store: Store, acknowledged: list[Acknowledged]) -> list[str]:
    """Return what was acknowledged and is not kept, or is kept twice; call it after the sweep of the files."""
    with database.read() as connection:
        rows = connection.execute(select(CLIPS.c.clip_id, CLIPS.c.file_key, CLIPS.c.sha256)).all()
        texts = {(row.device_id, row.data_point_id): row.text for row in connection.execute(select(DATA_POINTS))}
    known = {row.clip_id: row for row in rows}
    files = {each.key for each in store.list(CLIP_PREFIX)}
    problems = [f"file {key} belongs to no clip" for key in files - {row.file_key for row in rows}]
    for row in rows:
        if row.file_key not in files or hashlib.sha256(store.read(row.file_key)).hexdigest() != row.sha256:
            problems.append(f"clip {row.clip_id} has not the bytes that it names")
    for device in acknowledged:
        lost = [each for each, sha256 in device.clips.items() if each not in known or known[each].sha256 != sha256]
        problems += [f"clip {each} was acknowledged and is lost" for each in lost]
        points = device.data_points.items()
        problems += [f"data point {key} was acknowledged and is lost" for key, text in points if texts.get(key) != text]
    return problems
