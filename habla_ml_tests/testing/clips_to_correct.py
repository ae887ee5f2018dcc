"""A deployment with recordings and a review queue of known clips, for the page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest, save_queue
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment, publish_recordings

SESSION = "11111_20260202_090000"
MADE_AT = datetime(2026, 2, 9, 6, tzinfo=UTC)
HINT = "gueno pos vamo a empesá"


def make_review_deployment(
    folder: Path, *items: ReviewItem, segments: int = 6, **sections: Any
) -> tuple[Settings, Lake]:
    """Publish a session with segments 1…n of 1.5 s, and a queue with these items."""
    settings = write_settings(folder, **sections)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    spoken = [
        SimulatedSegment(SESSION, number, "Ana" if number % 2 else "Luis", 1.5, sound=number)
        for number in range(1, segments + 1)
    ]
    publish_recordings(lake, DAY, spoken, folder)
    save_queue(lake, items, MADE_AT)
    return settings, lake


def make_clip(number: int, hint: str = HINT, people: int = 0, request: ReviewRequest | None = None) -> ReviewItem:
    """Return the queue's item for a segment; `people` type it blind."""
    return ReviewItem(
        segment_id=SimulatedSegment(SESSION, number).id,
        session_id=SESSION,
        day=DAY,
        speaker="Ana" if number % 2 else "Luis",
        duration_s=1.5,
        hint=hint,
        model_version="v2" if hint else "",
        score=0.5,
        reasons=("random: drawn by chance",) if people else ("unsure: v2 gives its tokens 45%",),
        is_random=bool(people),
        request=request,
        blind_people=people,
        split="test" if people else "train",
    )
