"""Readings of quantities: numbers with points and commas, telephone numbers, money, metres and halves."""

from __future__ import annotations

import re
from typing import Final

from habla_ml.evaluation.scoring.abbreviations import (
    CENTS,
    CURRENCIES,
    FEMININE_NOUNS,
    NOUNS_WITH_HALVES,
    UNITS,
    UNITS_AFTER_DIGITS,
    parse_readings,
)
from habla_ml.evaluation.scoring.readings import Reading, Span, Spans, parse_words
from habla_ml.evaluation.scoring.spanish_numerals import (
    MILLIONS,
    spell_cardinal,
    spell_decimal,
    spell_digits,
    spell_ordinal,
)

ORDINAL_CONTEXT: Final = re.compile(
    r"(?:siglo|siglos|capítulo|tema|acto|tomo|título|libro|lección|curso|s\.)(?:\s+[XVI]+\s+[yao])?\s*$", re.I
)


def read_number(match: re.Match[str]) -> Spans:
    """Return the readings of a number with any points and commas; "capítulo 5" may be the fifth."""
    readings = _add_preposition(_read_quantity(match[0]))
    if len(match[0]) < 3 and match[0].strip("0") and ORDINAL_CONTEXT.search(match.string[: match.start()]):
        return (tuple(dict.fromkeys((*readings, *spell_ordinal(int(match[0]))))),)
    return (readings,)


def _add_preposition(readings: Span) -> Span:
    """Return the readings, after a million also with the "de" of its noun: "dos millones de euros" for 2.000.000 €."""
    return (*readings, *((*each, ("de",)) for each in readings if each[-1][0] in MILLIONS))


def _read_quantity(text: str) -> Span:
    if len(text) > 60:
        return (tuple(word for digit in re.findall(r"\d", text) for word in spell_cardinal(int(digit))),)
    if text.isdecimal():
        return spell_digits(text)
    parts = re.split(r"[.,]", text)
    marks = re.findall(r"[.,]", text)
    thousands = _parse_thousands(text)
    if len(parts) == 2:
        decimal = spell_decimal(*parts)
        if thousands is None:
            return decimal
        return (*thousands, *decimal) if marks == ["."] else (*decimal, *thousands)
    if thousands is not None:
        return (*thousands, _spell_apart(parts)) if _is_telephone(parts) else thousands
    plain = [spell_digits(part)[0] for part in parts]
    points: Reading = ()
    for mark, part in zip(["", *marks], plain, strict=True):
        points += ((("punto",) if mark == "." else ("coma",)), *part) if mark else part
    return (tuple(word for part in plain for word in part), points)


def _parse_thousands(text: str) -> Span | None:
    """Return the readings of 1.500, 1.234,56, 1,500,000 and 1,234.56; None for other texts."""
    for thousand, point in ((".", ","), (",", ".")):
        grouped = rf"[1-9]\d{{0,2}}(?:{re.escape(thousand)}\d{{3}})+(?:{re.escape(point)}(\d+))?"
        if found := re.fullmatch(grouped, text):
            whole = text.partition(point)[0].replace(thousand, "")
            return spell_decimal(whole, found[1]) if found[1] else spell_digits(whole)[:1]
    return None


def read_grouped(match: re.Match[str]) -> Spans:
    """Return the readings of 10 000: as one number, and each group as a number. Telephone numbers are read in groups."""
    whole, _, fraction = match[0].partition(",")
    groups = whole.split()
    digits = "".join(groups)
    apart = _spell_apart(groups)
    together = spell_decimal(digits, fraction) if fraction else spell_digits(digits)[:1]
    if _is_telephone(groups):
        return ((apart, *together, *spell_digits(digits)[1:]),)
    return ((*_add_preposition(together), (*apart, ("coma",), *spell_digits(fraction)[0]) if fraction else apart),)


def _spell_apart(groups: list[str]) -> Reading:
    return tuple(word for group in groups for word in spell_digits(group)[0])


def _is_telephone(groups: list[str]) -> bool:
    return len(groups) == 3 and len("".join(groups)) == 9 and groups[0][0] in "6789"


def read_money(match: re.Match[str]) -> Spans:
    """Return the readings of 20 €, $20 and 3,50 €: "tres con cincuenta", "tres euros con cincuenta céntimos"."""
    text = match[0]
    sign = next(each for each in CURRENCIES if each in text)
    amount = re.sub(r"[^\d.,]", "", text)
    currency = parse_words(CURRENCIES[sign])
    if re.search(r"\d\s+\d", text):
        return (tuple((*each, *currency) for each in _add_preposition(_read_quantity(amount))),)
    readings = [(*each, *singular_first(currency, amount)) for each in _add_preposition(_read_quantity(amount))]
    if found := re.fullmatch(r"(\d+)[.,]50?", amount):
        readings += _list_halves(int(found[1]), currency)
    if found := re.fullmatch(r"(.*)[.,](\d\d)", amount):
        whole, cents = _read_quantity(found[1])[0] if found[1] else (), spell_cardinal(int(found[2]))
        named = parse_words(CENTS[sign])
        readings += _join_parts(whole, currency, cents, named)
        if int(found[2]) == 0:
            readings.append((*whole, *currency))
        if found[1].strip("0") == "":
            readings.append((*cents, *named))
    return (tuple(dict.fromkeys(readings)),)


def _join_parts(whole: Reading, unit: Reading, cents: Reading, part: Reading) -> list[Reading]:
    """Return the readings of a whole with hundredths: "tres euros con cincuenta", "tres cincuenta" and their like."""
    readings = []
    for joint in parse_readings("; con; y"):
        readings += [(*whole, *unit, *joint, *cents), (*whole, *unit, *joint, *cents, *part)]
        readings += [(*whole, *joint, *cents), (*whole, *joint, *cents, *unit)]
    return readings


def read_metres(match: re.Match[str]) -> Spans:
    """Return the readings of 1,80 m: "uno coma ochenta metros", "un metro ochenta", "uno ochenta"."""
    amount = re.sub(r"[^\d.,]", "", match[0])
    whole, cents = re.split("[.,]", amount)
    unit = parse_words("metro|metros" if whole == "1" else "metros|metro")
    halves = read_half(match)[0] if cents == "50" else ()
    centimetres = parse_words("centímetros|centímetro")
    readings = [*((*each, *parse_words("metros|metro")) for each in _read_quantity(amount)), *halves]
    for hundredths in (spell_cardinal(int(cents)), *spell_digits(cents)[:1]):
        readings += _join_parts(spell_cardinal(int(whole)), unit, hundredths, centimetres)
    if not whole.strip("0"):
        readings.append((*spell_cardinal(int(cents)), *centimetres))
    return (tuple(dict.fromkeys(readings)),)


def singular_first(words: Reading, amount: str) -> Reading:
    """Return the words with the singular form first if the amount is one."""
    if amount != "1":
        return words
    return tuple(tuple(reversed(word)) if len(word) == 2 else word for word in words)


def read_half(match: re.Match[str]) -> Spans:
    """Return the readings of "2,5 millones", "3,5 kg" and "2½ kilos": with a comma, and "dos millones y medio"."""
    key = match[0].lstrip("0123456789.,½/ \u00a0\t\n").lower()
    amount = match[0][: -len(key)].strip()
    quantities = _read_quantity(amount) if re.fullmatch(r"[\d.,]+", amount) else ()
    nouns = parse_readings((UNITS | UNITS_AFTER_DIGITS | NOUNS_WITH_HALVES)[key])
    whole = int(re.split(r"[.,½\s]", amount)[0])
    readings = [(*number, *words) for words in nouns for number in quantities]
    readings += [reading for words in nouns for reading in _list_halves(whole, words)]
    if key in ("millones", "millón"):
        readings.append((*spell_cardinal(whole), *nouns[0], *spell_cardinal(500_000)))
    return (tuple(dict.fromkeys(readings)),)


def _list_halves(whole: int, noun: Reading) -> list[Reading]:
    """Return "dos kilos y medio" and "dos y medio kilos"; of one also "kilo y medio", of none "medio kilo"."""
    half: Reading = (("media" if noun[0][0] in FEMININE_NOUNS else "medio",),)
    noun = singular_first(noun, "1" if whole < 2 else "")
    if whole == 0:
        return [(*half, *noun)]
    number, y = spell_cardinal(whole), ("y",)
    readings = [(*number, *noun, y, *half), (*number, y, *half, *noun)]
    return [*readings, (*noun, y, *half)] if whole == 1 else readings
