"""How the assets are cut: days of recording, and model versions."""

from __future__ import annotations

import dagster as dg

from habla_ml.model_version import version_number
from habla_ml.settings import Settings

MODEL_VERSIONS = "model_version"
model_versions = dg.DynamicPartitionsDefinition(name=MODEL_VERSIONS)


def recording_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Days in the zone of the settings, today included: a lesson of this morning is ingested today."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.recordings.first_day, timezone=settings.time_zone, end_offset=1
    )


def next_version(existing: list[str]) -> str:
    """`v1`, `v2`, … : one more than the highest that exists."""
    return f"v{max(map(version_number, existing), default=0) + 1}"
