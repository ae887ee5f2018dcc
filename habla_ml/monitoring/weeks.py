"""ISO weeks, named by their Monday: the grain in which a release is watched."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def week_of_day(day: str) -> str:
    """The Monday of the week of `day`, both `YYYY-MM-DD`."""
    at = date.fromisoformat(day)
    return (at - timedelta(days=at.weekday())).isoformat()


def week_of_moment(moment: datetime, zone: ZoneInfo) -> str:
    """The Monday of the week in which an aware moment lies, by the days of `zone`."""
    return week_of_day(moment.astimezone(zone).date().isoformat())


def weeks_before(week: str, count: int) -> str:
    """The Monday `count` weeks before `week`."""
    return (date.fromisoformat(week) - timedelta(weeks=count)).isoformat()


def is_over(week: str, now: datetime, zone: ZoneInfo) -> bool:
    """Whether the week has ended; one that has not is shown and not tested, since its figure still moves."""
    end = datetime.combine(date.fromisoformat(week) + timedelta(weeks=1), time(), zone)
    return now >= end
