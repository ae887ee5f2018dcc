"""ISO weeks, named by their Monday."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def week_of_day(day: str) -> str:
    """Return the Monday of the week of `day`, both `YYYY-MM-DD`."""
    at = date.fromisoformat(day)
    return (at - timedelta(days=at.weekday())).isoformat()


def week_of_moment(moment: datetime, zone: ZoneInfo) -> str:
    """Return the Monday of the week of an aware time, by the days of `zone`."""
    return week_of_day(moment.astimezone(zone).date().isoformat())


def weeks_before(week: str, count: int) -> str:
    """Return the Monday `count` weeks before `week`."""
    return (date.fromisoformat(week) - timedelta(weeks=count)).isoformat()


def is_over(week: str, now: datetime, zone: ZoneInfo) -> bool:
    """Return whether the week has ended; an unfinished week is shown and not tested, since its figures still change."""
    end = datetime.combine(date.fromisoformat(week) + timedelta(weeks=1), time(), zone)
    return now >= end
