"""Readings of dates and clock times that are written in digits."""

from __future__ import annotations

import re
from typing import Final

from habla_ml.evaluation.scoring.abbreviations import parse_readings
from habla_ml.evaluation.scoring.readings import Reading, Spans, Word, parse_words
from habla_ml.evaluation.scoring.spanish_numerals import spell_cardinal, spell_digits

MONTHS: Final = (
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre|setiembre",
    "octubre",
    "noviembre",
    "diciembre",
)
_OF: Final[Word] = ("de", "del")
_FIRST: Final[Word] = ("uno", "primero")


def read_date(text: str) -> Spans:
    """Return the readings of 15/3/2024, 15-3-24 and 2024-03-15: with the month's name, as numbers, as a fraction."""
    first, second, third = re.split(r"[/.-]", text)
    day, month, year = (third, second, first) if len(first) == 4 else (first, second, third)
    spoken_day: Reading = (_FIRST,) if int(day) == 1 else spell_cardinal(int(day))
    named, numbered = parse_words(MONTHS[int(month) - 1]), spell_cardinal(int(month))
    years = spell_digits(year)[:3]
    if len(year) == 2:
        century = 1900 if int(year) > 50 else 2000
        years = (*years, spell_cardinal(century + int(year)))
    readings = [(*spoken_day, _OF, *named, _OF, *each) for each in years]
    readings += [(*spoken_day, *words) for each in years for words in _list_numeric_tails(named, numbered, each)]
    in_order = tuple(word for part in (first, second, third) for word in spell_digits(part)[0])
    return (tuple(dict.fromkeys([*readings, in_order])),)


def _list_numeric_tails(named: Reading, numbered: Reading, year: Reading) -> list[Reading]:
    return [
        (_OF, *numbered, _OF, *year),
        (*numbered, _OF, *year),
        (*numbered, *year),
        (_OF, *numbered, *year),
        (_OF, *named, *year),
    ]


def read_first_day(_: str) -> Spans:
    """Return the readings of the 1 of "1 de mayo"."""
    return (((_FIRST,),),)


def read_clock(text: str) -> Spans:
    """Return the readings of 3:15, 15.30 h and 20h30: as numbers, with quarters, and on the clock of twelve hours."""
    hour, minute, *second = (int(each) for each in re.findall(r"\d+", text))
    seconds = spell_cardinal(second[0]) if second else ()
    if second:
        plain = (*_spell_hour(hour), *_spell_minute(minute), *seconds)
        units = (*_spell_hour(hour), *parse_words("horas|hora"), *spell_cardinal(minute))
        units += (*parse_words("minutos|minuto y"), *seconds, *parse_words("segundos|segundo"))
        return ((plain, units),)
    readings = []
    for each in dict.fromkeys([hour, (hour - 1) % 12 + 1]):
        readings += _list_clock_readings(each, minute)
    if "min" in text.lower():
        minutes = (*spell_cardinal(minute), ("minutos", "minuto"))
        return (tuple((*_spell_hour(hour), ("horas", "hora"), *joint, *minutes) for joint in ((), (("y",),))),)
    unit = (parse_readings("; horas|hora"),) if "h" in text.lower() else ()
    return (tuple(dict.fromkeys(readings)), *unit)


def _spell_hour(hour: int) -> Reading:
    words = spell_cardinal(hour)
    return (*words[:-1], tuple(sorted(words[-1], key=lambda form: not form.endswith("una"))))


def _spell_minute(minute: int) -> Reading:
    return spell_digits(f"{minute:02d}")[0]


def _list_clock_readings(hour: int, minute: int) -> list[Reading]:
    now, after = _spell_hour(hour), _spell_hour(hour % 12 + 1)
    y, less = ("y",), ("menos",)
    if minute == 0:
        return [now, (*now, *parse_words("en punto")), (*now, *_spell_minute(0)), (*now, *parse_words("horas|hora"))]
    exact = spell_cardinal(minute)
    readings = [(*now, *_spell_minute(minute)), (*now, y, *exact), (*now, *exact)]
    horas = parse_words("horas|hora")
    readings += [(*now, *horas, y, *exact), (*now, *horas, *exact)]
    spoken_part = {15: "cuarto", 30: "media"}.get(minute)
    if spoken_part:
        readings.append((*now, y, (spoken_part,)))
    if minute > 30:
        rest = (("cuarto",),) if minute == 45 else spell_cardinal(60 - minute)
        readings.append((*after, less, *rest))
        readings.append((*after, less, *spell_cardinal(60 - minute)))
    return readings


def read_half_day(text: str) -> Spans:
    """Return the readings of "am" and "pm"."""
    if text.strip().lower().startswith("a"):
        return (parse_readings("de la mañana; de la madrugada; am; a m; a eme"),)
    return (parse_readings("de la tarde; de la noche; pm; p m; pe eme"),)
