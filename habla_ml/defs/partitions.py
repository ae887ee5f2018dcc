"""The owners and the partitions of the assets: days of recording, hours of receipt and model versions."""

from __future__ import annotations

from datetime import date, timedelta

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


def received_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Return the UTC hours of receipt, such as `2026-11-29T06`, including the present one.

    They begin a day before `recordings.first_day`, which begins in UTC the day before in zones east of Greenwich.
    """
    first = date.fromisoformat(settings.recordings.first_day) - timedelta(days=1)
    return dg.HourlyPartitionsDefinition(start_date=f"{first}T00", fmt="%Y-%m-%dT%H", timezone="UTC", end_offset=1)


def next_version(existing: list[str]) -> str:
    """Return the version after the highest existing one: `v1`, `v2` and so on."""
    return f"v{max(map(version_number, existing), default=0) + 1}"
