"""The bundles whose result has not come back yet: what starts trainings by itself waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from habla_ml.lake import Lake, catalogue

AWAITED_FOR: Final = timedelta(days=14)
"""A result that comes later finds its version trained here."""


def find_awaited_bundle(lake: Lake, version: str, now: datetime) -> datetime | None:
    """Return when the newest bundle of a version was made; None where no result is awaited."""
    pointer = lake.read_pointer(catalogue.BUNDLE.name(version))
    if pointer is None or lake.read_pointer(catalogue.CHECKPOINT.name(version)) is not None:
        return None
    made_at = max(datetime.fromisoformat(each["created_at"]) for each in pointer.value["bundles"])
    return made_at if now - made_at < AWAITED_FOR else None
