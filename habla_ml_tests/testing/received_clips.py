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

from habla_ml.annotation.event_log import read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.source import AnnotationSource, SourceContext
from habla_ml.annotation.sources import collect_events
from habla_ml.inbox.clip_files import CLIP_PREFIX, open_clip_store
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.schema import ANSWERS, CLIPS, DATA_POINTS
from habla_ml.lake import Store
from habla_ml.names import canonical_name
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.uploads import IngestedHour, ingest_hour
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_noise, make_workspace

RECEIVED = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
HOUR = "2026-03-02T10"
DAY = "2026-03-02"
PHONE = "5f0d2a38-6a5e-4f6c-9f0e-2f7a4f0f5a11"


def make_clip_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


@dataclass(frozen=True)
class Inbox:
    """The workspace with the service's database and the store of its clips."""

    workspace: HablaWorkspace
    database: Database
    store: Store

    def receive(self, number: int, data: bytes | None = None, **columns: Any) -> str:
        """Keep a clip as the service does; return its id. Without data it is noise of its own."""
        data = make_pcm16_wav(make_noise(seed=number)) if data is None else data
        clip_id = make_clip_id(number)
        row = {
            "clip_id": clip_id,
            "file_key": f"{CLIP_PREFIX}{clip_id[:2]}/{clip_id}-0",
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
        self.store.put_if_absent(row["file_key"], data)
        with self.database.write() as connection:
            connection.execute(insert(CLIPS).values(row))
        return clip_id

    def add_data_point(self, number: int, clip: int, text: str, **columns: Any) -> None:
        """Keep a correction of a clip, as the service does."""
        row = {
            "device_id": PHONE,
            "data_point_id": make_clip_id(1_000 + number),
            "clip_id": make_clip_id(clip),
            "digest": hashlib.sha256(text.encode()).hexdigest(),
            "text": text,
            "status": "corrected",
            "reason": "",
            "corrected_at": RECEIVED - timedelta(minutes=1),
            "language": "es-ES",
            "app_version": "1.0",
            "model_version": "v3",
            "seen_text": "texto de la máquina",
            "received_at": RECEIVED,
            "hour": HOUR,
            **columns,
        }
        with self.database.write() as connection:
            connection.execute(insert(DATA_POINTS).values(row))

    def add_answer(self, number: int, segment: Mapping[str, Any], text: str, **columns: Any) -> None:
        """Keep an answer on the page, as the service does."""
        row = {
            "answer_id": make_clip_id(2_000 + number),
            **{name: segment[name] for name in ("segment_id", "session_id", "day")},
            "text": text,
            "status": "corrected",
            "reason": "",
            "speaker": "",
            "person": "Marta",
            "created_at": RECEIVED + timedelta(minutes=number),
            "seen_text": "texto de la máquina",
            "model_version": "v3",
            "attempt": 0,
            "is_blind": False,
            **columns,
        }
        with self.database.write() as connection:
            connection.execute(insert(ANSWERS).values(row))

    def find_days(self, source: AnnotationSource) -> dict[str, bool]:
        """Return the days of a source → whether they have unread events."""
        context = SourceContext(self.workspace.lake, self.workspace.settings, NOW)
        return {each.day: bool(each.unread) for each in source.find_changes(context).days}

    def collect(self, day: str = DAY) -> list[AnnotationEvent]:
        """Collect a day from every source; return its log."""
        return read_events(self.workspace.lake, collect_events(self.workspace.lake, day, self.workspace.settings, NOW))

    def ingest(self, hour: str = HOUR, now: datetime = NOW) -> IngestedHour:
        workspace = self.workspace
        return ingest_hour(hour, workspace.lake, self.database, self.store, workspace.settings, now)

    def read_clip(self, clip_id: str) -> Mapping[str, Any]:
        """Return the row of a clip."""
        with self.database.read() as connection:
            return connection.execute(select(CLIPS).where(CLIPS.c.clip_id == clip_id)).mappings().one()

    def read_segments(self, day: str = DAY) -> list[Mapping[str, Any]]:
        """Return the segments of a day of recording in the lake."""
        published = load_day(self.workspace.lake, day)
        return [] if published is None else list(read_segment_metadata(self.workspace.lake, published.metadata))


def make_inbox(root: Path, **sections: Mapping[str, Any]) -> Inbox:
    """Return an inbox without a clip; its hours are long past, so that every partition of Dagster has them."""
    workspace = make_workspace(root, **sections)
    return Inbox(workspace, open_database(workspace.settings), open_clip_store(workspace.settings))
