"""An inbox with clips, as the service leaves them, next to Habla's folders."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.schema import CLIPS
from habla_ml.inbox.unread_clips import UnreadClip
from habla_ml.lake import DirectoryStore
from habla_ml.names import canonical_name
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.uploads import IngestedHour, ingest_hour
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_noise, make_workspace

RECEIVED = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
HOUR = "2026-11-20T10"
DAY = "2026-11-20"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PHONE = "5f0d2a38-6a5e-4f6c-9f0e-2f7a4f0f5a11"


def make_clip_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


@dataclass(frozen=True)
class Inbox:
    """The workspace with the service's database and the store of its clips."""

    workspace: HablaWorkspace
    database: Database
    store: DirectoryStore

    def receive(self, number: int, data: bytes | None = None, **columns: Any) -> str:
        """Keep a clip as the service does; return its id. Without data it is noise of its own."""
        data = make_pcm16_wav(make_noise(seed=number)) if data is None else data
        clip_id = make_clip_id(number)
        row = {
            "clip_id": clip_id,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "device_id": PHONE,
            "contributor": "c-1",
            "session": "3A lengua",
            "recorded_at": RECEIVED - timedelta(minutes=5),
            "received_at": RECEIVED,
            **columns,
        }
        row["contributor_key"] = canonical_name(row["contributor"]) if row["contributor"] else None
        row["hour"] = row["received_at"].astimezone(UTC).strftime("%Y-%m-%dT%H")
        self.store.put_if_absent(f"clips/{clip_id}", data)
        with self.database.write() as connection:
            connection.execute(insert(CLIPS).values(row))
        return clip_id

    def read_bytes(self, clip: UnreadClip) -> bytes:
        return self.store.read(f"clips/{clip.clip_id}")

    def ingest(self, hour: str = HOUR, now: datetime = NOW) -> IngestedHour:
        workspace = self.workspace
        return ingest_hour(hour, workspace.lake, self.database, self.read_bytes, workspace.settings, now)

    def read_clip(self, clip_id: str) -> Mapping[str, Any]:
        """Return the row of a clip."""
        with self.database.read() as connection:
            return connection.execute(select(CLIPS).where(CLIPS.c.clip_id == clip_id)).mappings().one()

    def read_segments(self, day: str = DAY) -> list[Mapping[str, Any]]:
        """Return the segments of a day of recording in the lake."""
        published = load_day(self.workspace.lake, day)
        return [] if published is None else list(read_segment_metadata(self.workspace.lake, published.metadata))


def make_inbox(root: Path, **sections: Mapping[str, Any]) -> Inbox:
    workspace = make_workspace(root, **sections)
    return Inbox(workspace, open_database(workspace.settings), DirectoryStore(root / "service" / "inbox"))
