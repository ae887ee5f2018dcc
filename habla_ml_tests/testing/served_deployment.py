"""A small deployment with its real service in a process of its own, and what a test looks up behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from habla_ml.inbox.clip_files import CLIP_PREFIX, open_clip_store
from habla_ml.inbox.clips import derive_clip_id
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.inbox.schema import CLIPS, DATA_POINTS
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings
from habla_ml_tests.testing.forked_workers import ForkedWorkers


@dataclass(frozen=True)
class ServedDeployment:
    """A running service, its database, and its settings."""

    url: str
    database: Database
    settings: Settings

    def make_code(self) -> str:
        """Return a code that enrols one device."""
        return create_enrolment_code(self.database, "a phone", datetime.now(UTC), timedelta(hours=1))

    def list_clips(self) -> list[str]:
        """Return the ids of the clips that are held."""
        with self.database.read() as connection:
            return sorted(connection.scalars(select(CLIPS.c.clip_id).where(CLIPS.c.erased_at.is_(None))))

    def list_files(self) -> list[str]:
        """Return the keys of the files that are held."""
        return [each.key for each in open_clip_store(self.settings).list(CLIP_PREFIX)]

    def list_texts(self) -> list[str]:
        """Return the texts that are held."""
        with self.database.read() as connection:
            return sorted(connection.scalars(select(DATA_POINTS.c.text)))

    def find_owner(self, sent_id: str) -> str:
        """Return the device that sent a clip."""
        with self.database.read() as connection:
            rows = connection.execute(select(CLIPS.c.device_id, CLIPS.c.clip_id)).all()
        return next(str(row.device_id) for row in rows if derive_clip_id(row.device_id, sent_id) == row.clip_id)


@contextmanager
def serve_deployment(folder: Path, **sections: Any) -> Iterator[ServedDeployment]:
    """Serve a deployment below a folder, with these sections of settings, until the block ends."""
    settings = write_settings(folder, **{"consent": {"documents": str(PROJECT / "configs/consents")}, **sections})
    database = open_database(settings)
    with ForkedWorkers(folder, workers=1) as workers:
        yield ServedDeployment(f"http://127.0.0.1:{workers.port}", database, settings)
    database.close()
