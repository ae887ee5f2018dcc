"""The owners and the partitions of the assets: days of recording and model versions."""

from __future__ import annotations

import dagster as dg

from habla_ml.model_version import version_number
from habla_ml.settings import Settings

DATA_OWNERS, MODEL_OWNERS, RELEASE_OWNERS = ["team:classroom"], ["team:models"], ["team:app"]
MODEL_VERSIONS = "model_version"
model_versions = dg.DynamicPartitionsDefinition(name=MODEL_VERSIONS)


def recording_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return the days in the zone of the settings, including today, so that a lesson is ingested on its day."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.recordings.first_day, timezone=settings.time_zone, end_offset=1
    )


def next_version(existing: list[str]) -> str:
    """Return the version after the highest existing one: `v1`, `v2` and so on."""
    return f"v{max(map(version_number, existing), default=0) + 1}"
