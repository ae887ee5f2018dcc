"""Cron expressions: minute, hour, day of month, month, day of week.

Accepts what Dagster accepts and fires as it reads: numbers, names, `*`, ranges, steps and lists, `L` for the last day
of a month, `1#2` for its second Monday and `L5` for its last Friday. Refuses dates that never come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EXAMPLE: Final = "0 3 1 */3 *"
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_OF_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART: Final = re.compile(r"(?P<low>\*|[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?(?:/(?P<step>[0-9]+))?")
_NTH_WEEKDAY: Final = re.compile(r"(?P<weekday>[a-z0-9]+)#[1-5]|l(?P<last>[0-6])")


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> set[int]:
        """Return the values of a field; raise `ValueError` if it has no meaning."""
        return {value for part in text.split(",") for value in self._parse_part(part)}

    def parse_value(self, text: str) -> int:
        """Return one value, given as a number or a name."""
        if text in self.names:
            return self.low + self.names.index(text)
        if not (text.isascii() and text.isdigit() and len(text) <= 2 and self.low <= int(text) <= self.high):
            raise ValueError(f"has {text!r} as {self.name}, expected {self.low}…{self.high}")
        return int(text)

    def _parse_part(self, part: str) -> list[int]:
        match = _PART.fullmatch(part)
        if match is None or (match["low"] == "*" and match["high"]):
            raise ValueError(f"has {part!r} as {self.name}, expected a number, a range or a step such as */2")
        low = self.low if match["low"] == "*" else self.parse_value(match["low"])
        is_open = match["low"] == "*" or (match["step"] and not match["high"])
        high = self.high if is_open else self.parse_value(match["high"] or match["low"])
        if self.names == _WEEKDAYS and low > high and not match["step"]:
            return [*range(low, self.high + 1), *range(self.low, high + 1)]
        if match["high"] and low >= high:
            raise ValueError(f"has {part!r} as {self.name}, a range whose end is not after its start")
        step = int(match["step"] or 1)
        if match["step"] and not 1 <= step <= high - low:
            raise ValueError(f"has {part!r} as {self.name}, whose step is not in 1…{high - low}")
        return list(range(low, high + 1, step))


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


def require_cron(expression: str) -> str:
    """Return the expression; raise `ValueError` if Dagster refuses it, or if no date fulfils it."""
    fields = expression.lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{expression!r} is not a cron expression with five fields; an example is {EXAMPLE!r}")
    try:
        _check_fields(fields)
    except ValueError as error:
        raise ValueError(f"{expression!r} {error}; an example is {EXAMPLE!r}") from None
    return expression


def is_weekly(expression: str) -> bool:
    """Return whether a valid expression fires exactly once a week, as `0 3 * * 1` does."""
    minute, hour, day, month, weekday = expression.lower().split()
    is_single = re.compile(r"[0-9]+|[a-z]{3}").fullmatch
    return (day, month) == ("*", "*") and all(map(is_single, (minute, hour, weekday)))


def _check_fields(fields: list[str]) -> None:
    minute, hour, day, month, weekday = fields
    for field, text in zip(_FIELDS[:2], (minute, hour), strict=True):
        field.parse(text)
    months = _FIELDS[3].parse(month)
    is_nth = "#" in weekday or weekday.startswith("l")
    if is_nth and day != "*":
        raise ValueError(f"has the day of month {day!r} together with {weekday!r}; set it to *")
    for part in weekday.split(",") if is_nth else ():
        match = _NTH_WEEKDAY.fullmatch(part)
        if match is None:
            raise ValueError(f"has {part!r} as day of week, expected each as 1#2 or L5 where one is")
        if match["weekday"]:
            _FIELDS[4].parse_value(match["weekday"])
    if not is_nth:
        _FIELDS[4].parse(weekday)
    if day == "l":
        return
    earliest = min(_FIELDS[2].parse(day))
    if all(earliest > _DAYS_OF_MONTHS[each - 1] for each in months):
        raise ValueError(f"has the day of month {earliest}, which no chosen month has")
