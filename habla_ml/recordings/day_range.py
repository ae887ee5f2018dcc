"""The days that can be ingested: from `recordings.first_day` to today, in the zone of the settings.

Dagster has a partition for each of them and for no other day. A session outside has a folder that was named by a wrong
clock, or is older than the deployment.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from habla_ml.settings import Settings

_RESET_CLOCK_UNTIL: Final = "1990"
"""Clocks without a battery start in 1970 or 1980."""


def explain_day_outside(day: str, settings: Settings, now: datetime) -> str | None:
    """Return why `day` (`YYYY-MM-DD`) cannot be ingested, with the next step; None if it can."""
    first, today = settings.recordings.first_day, _today(settings, now)
    if first <= day <= today:
        return None
    rename = "rename the folder to the time of the lesson"
    if day > today:
        return (
            f"is dated {day}, after today ({today} in {settings.time_zone}): the recorder's clock or time zone was "
            f"wrong; {rename}, or wait: it is ingested on its day"
        )
    if day < _RESET_CLOCK_UNTIL:
        return f"is dated {day}: the recorder's clock was reset; {rename}"
    return (
        f"is dated {day}, before recordings.first_day ({first}); set an earlier first_day to ingest it, or, if the "
        f"recorder's clock was wrong, {rename}"
    )


def is_clock_wrong(day: str, settings: Settings, now: datetime) -> bool:
    """Return whether no session can be of `day`: it is after today, or from a clock that was reset."""
    return day < _RESET_CLOCK_UNTIL or day > _today(settings, now)


def is_day_inside(day: str, settings: Settings, now: datetime) -> bool:
    """Return whether `day` can be ingested."""
    return settings.recordings.first_day <= day <= _today(settings, now)


def is_credible_time(moment: datetime, received_at: datetime, settings: Settings) -> bool:
    """Return whether the clock of a device can be believed: not after the receipt, nor before `recordings.first_day`."""
    local_day = moment.astimezone(settings.zone).strftime("%Y-%m-%d")
    return moment <= received_at and local_day >= settings.recordings.first_day


def _today(settings: Settings, now: datetime) -> str:
    return _find_local_day(now, settings.zone)


@lru_cache(maxsize=8)  # a tick asks for each day or session with the same time
def _find_local_day(now: datetime, zone: ZoneInfo) -> str:
    return now.astimezone(zone).strftime("%Y-%m-%d")
