"""Readers of the written forms: each returns the spans of one match of the pattern in `written_forms`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from habla_ml.evaluation.scoring.abbreviations import (
    ABBREVIATIONS,
    CURRENCIES,
    DOTTED_ABBREVIATIONS,
    UNITS,
    UNITS_AFTER_DIGITS,
    parse_readings,
)
from habla_ml.evaluation.scoring.dates_and_times import read_clock, read_date, read_first_day, read_half_day
from habla_ml.evaluation.scoring.quantities import (
    ORDINAL_CONTEXT,
    read_grouped,
    read_half,
    read_metres,
    read_money,
    read_number,
    singular_first,
)
from habla_ml.evaluation.scoring.readings import Reading, Span, Spans, Word, parse_words
from habla_ml.evaluation.scoring.spanish_numerals import (
    SPELLED_WORDS,
    Gender,
    parse_roman,
    spell_cardinal,
    spell_digits,
    spell_ordinal,
)

_ORDINAL_SUFFIXES: Final[dict[str, tuple[Gender, bool]]] = {
    "ª": ("feminine", False),
    "a": ("feminine", False),
    "ra": ("feminine", False),
    "da": ("feminine", False),
    "ta": ("feminine", False),
    "ma": ("feminine", False),
    "va": ("feminine", False),
    "na": ("feminine", False),
    "as": ("feminine", True),
    "ªs": ("feminine", True),
    "os": ("masculine", True),
    "ºs": ("masculine", True),
    "era": ("feminine", False),
    "ras": ("feminine", True),
    "eras": ("feminine", True),
    "ros": ("masculine", True),
    "eros": ("masculine", True),
    "er": ("short", False),
}
"""All other suffixes are masculine."""


def read_ordinal(match: re.Match[str]) -> Spans:
    """Return the readings of 1.º, 2ª, 3er, 4ta and 5o; with º also degrees, with a letter also the letter."""
    digits, suffix = _split_number(match[0])
    suffix = suffix.strip(" .")
    gender, is_plural = _ORDINAL_SUFFIXES.get(suffix, ("masculine", False))
    number = int(digits)
    readings = spell_ordinal(number, gender, is_plural) if number else spell_digits(digits)
    cardinals = spell_digits(digits)[:1]
    if suffix in ("º", "°"):
        degrees = tuple((*each, ("grados", "grado")) for each in cardinals)
        ordinals = tuple(each for each in readings if each not in cardinals)
        readings = degrees + ordinals if suffix == "°" else readings + degrees
    elif suffix in ("o", "a"):
        readings += tuple((*each, (suffix,)) for each in cardinals)
    return (readings,)


def _split_number(text: str) -> tuple[str, str]:
    suffix = re.sub(r"^\d+", "", text)
    return text.removesuffix(suffix), suffix.lower()


_DENOMINATORS: Final = {2: "medios|medio|medias|media", 3: "tercios|tercio|terceras|tercera"}
_DIVIDED: Final = "entre; partido por; dividido entre; dividido por; partido entre"


def read_fraction(match: re.Match[str]) -> Spans:
    """Return the readings of 3/4: "tres cuartos", "tres partido por cuatro", "tres cuatro", and of a date such as 15/3."""
    over, under = (int(each) for each in match[0].split("/"))
    one, other = spell_cardinal(over), spell_digits(match[0].split("/")[1])[0]
    readings: list[Reading] = [] if over < under else [(*one, *other)]
    if (parts := _spell_parts(under)) is not None:
        readings.append((*one, parts))
        if under > 2:
            readings.append((*one, parts, ("partes", "parte")))
        if over == 1:
            readings.append((parts,))
    readings.append((*one, *other))
    readings += [(*one, *joint, *other) for joint in parse_readings(f"{_DIVIDED}; barra; de; del; a; o")]
    if (over, under) == (1, 2):
        readings += parse_readings("medio|media; la mitad")
    if 1 <= over <= 31 and 1 <= under <= 12:
        (month,) = read_date(f"{over}/{under}/2000")[0][:1]
        readings.append(month[:-3])  # without "de dos mil"
    return (tuple(dict.fromkeys(readings)),)


def _spell_parts(under: int) -> Word | None:
    """Return the forms of a denominator: cuartos, décimas, onceavos, treintavos, noventainueveavos; None without one."""
    if under in _DENOMINATORS:
        return parse_words(_DENOMINATORS[under])[0]
    if 4 <= under <= 10 or under in (100, 1000):
        (ordinal,) = spell_ordinal(under)[0]
        forms = [form for form in ordinal if form.endswith("o")]
        feminine = [form[:-1] + "a" for form in forms]
        return tuple([form + "s" for form in forms + feminine] + forms + feminine)
    if not 11 <= under <= 99:
        return None
    words = [word[0] for word in spell_cardinal(under)]
    stems = [joint.join((words[0], words[-1])) for joint in "iy"] if len(words) == 3 else words
    # The last vowel of treinta and veintiuno is dropped, that of dieciocho may be.
    cut = [re.sub("[ao]$", "", stem) for stem in stems if re.search("(?:a|uno|ocho)$", stem)]
    stems = stems + cut if words[-1].endswith("ocho") else cut or stems
    return tuple(stem + suffix for suffix in ("avos", "avo") for stem in stems)


def read_score(match: re.Match[str]) -> Spans:
    """Return the readings of 2:1: a score, a ratio or a division."""
    one, other = (spell_digits(each.strip())[0] for each in match[0].split(":"))
    joints = parse_readings(f"; a; por; es a; son; {_DIVIDED}")
    return (tuple((*one, *joint, *other) for joint in joints),)


_SIGNS: Final = {
    "%": "por ciento; por cien",
    "‰": "por mil",
    "&": "y; and",
    "@": "arroba",
    "#": "; almohadilla; número",
    "+": "más; y; ",
    "=": "igual a; es igual a; igual; son; es; da",
    "½": "medio|media; un medio; y medio|media",
    "¼": "un cuarto; cuarto; y cuarto",
    "¾": "tres cuartos; y tres cuartos",
    "√": "raíz de; raíz cuadrada de; la raíz de",
    "≥": "mayor o igual que",
    "≤": "menor o igual que",
} | CURRENCIES


def read_sign(match: re.Match[str]) -> Spans:
    """Return the readings of a sign on its own."""
    sign = match[0]
    readings = parse_readings(_SIGNS[sign])
    is_before_digit = match.string[match.end() :].lstrip()[:1].isdecimal()
    return (tuple(each for each in readings if each) if sign == "+" and is_before_digit else readings,)


def read_minus(match: re.Match[str]) -> Spans:
    """Return the readings of a sign before a number: an en dash may be the dash of a dialogue."""
    return (parse_readings("; menos" if match[0] == "–" else "menos"),)


def read_between(match: re.Match[str]) -> Spans:
    """Return the readings of a dash between two numbers: 35 - 50 is a subtraction, 35-50 often a range or a code."""
    is_subtraction = len(match[0]) > 1 or match[0] == "−"
    return (parse_readings("menos; ; a; hasta; o" if is_subtraction else "; menos; a; hasta; o; guion"),)


def read_power(match: re.Match[str]) -> Spans:
    """Return the readings of the square and the cube of a number or a letter."""
    exponent = int(match[0].strip(" ^").replace("²", "2").replace("³", "3"))
    minus: Reading = (("menos",),) if exponent < 0 else ()
    raised = ((*parse_words("elevado a"), *minus, *spell_cardinal(abs(exponent))),)
    if exponent in (2, 3):
        return ((parse_words("al cuadrado" if exponent == 2 else "al cubo"), *raised),)
    ordinals = spell_ordinal(exponent, "feminine") if exponent > 0 else ((*minus, *spell_cardinal(abs(exponent))),)
    return ((*raised, *((*parse_words("a la"), *each) for each in ordinals)),)


def read_degrees(match: re.Match[str]) -> Spans:
    """Return the readings of ° and °C after a number."""
    text, before = match[0].strip().lower(), match.string[: match.start()]
    if not before.rstrip()[-1:].isdecimal():
        return ()
    degree = "grado|grados" if re.search(r"(?<![\d.,])1\s*$", before) else "grados|grado"
    if text.endswith("f"):
        return (parse_readings(f"{degree} fahrenheit; {degree}"),)
    return (parse_readings(f"{degree}; {degree} centígrados|centígrado; {degree} celsius; {degree} ce"),)


_NAME: Final = re.compile(r"[A-ZÁÉÍÓÚÑ][a-záéíóúñ]+\s*$")
_PLAIN_ROMANS: Final = 50
"""Up to here a Roman numeral without context may be one; larger ones are often a word in capitals."""


def _read_roman(match: re.Match[str], written: str) -> Spans | None:
    """Return the readings of a Roman numeral; None where the capitals are more likely a word or initials."""
    letters = written.rstrip("ºª")
    number, before = parse_roman(letters), match.string[: match.start()]
    if number is None:
        return None
    is_century, is_named = ORDINAL_CONTEXT.search(before), _NAME.search(before)
    as_written = parse_words(letters.lower())
    if letters != written:
        return ((*spell_ordinal(number, "feminine" if written.endswith("ª") else "masculine"), as_written),)
    if not is_century and not is_named and (len(letters) == 1 or number > _PLAIN_ROMANS):
        return None
    cardinal = (spell_cardinal(number),)
    ordinals = spell_ordinal(number) + spell_ordinal(number, "feminine") if number <= 50 else ()
    if is_century or is_named:
        if len(letters) == 1 and not is_century and letters in "CDLM":
            return None
        spoken = (*ordinals, *cardinal) if number <= 10 else (*cardinal, *ordinals)
        return (tuple(dict.fromkeys((*spoken, as_written))),)
    return (tuple(dict.fromkeys((*cardinal, *ordinals, as_written))),)


def read_fixed(match: re.Match[str]) -> Spans:
    """Return the readings of abbreviations of several parts."""
    letters = re.sub(r"[^a-zª]", "", match[0].lower())
    words = {
        "pej": "por ejemplo",
        "ac": "antes de cristo",
        "adec": "antes de cristo",
        "dc": "después de cristo",
        "ddec": "después de cristo",
        "eeuu": "estados unidos",
        "dª": "doña",
        "profª": "profesora",
        "c": "calle",
    }
    return (parse_readings(words[letters]),)


_ROYAL_INITIALS: Final = {"sm": "su majestad; sus majestades"}


def read_initials(match: re.Match[str]) -> Spans:
    """Return the readings of D.N.I.: as one word, letter by letter, and the words that some initials stand for."""
    letters = match[0].replace(".", "").lower()
    known = {**ABBREVIATIONS, **_ROYAL_INITIALS}.get(letters)
    return ((*(parse_readings(known) if known else ()), parse_words(letters), parse_words(" ".join(letters))),)


_AFTER_NUMBER_WORD: Final = re.compile(
    r"\b(?:uno?|una|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce|quince|dieci\w+|veint\w+"
    r"|\w+nta|\w*cien(?:to|tos|tas)?|quinient[oa]s|mil|millones|medio|media)\s*$",
    re.IGNORECASE,
)


def read_word(match: re.Match[str]) -> Spans | None:
    """Return the readings of an abbreviation, a unit, a Roman numeral or a number word; None for any other word."""
    written = match[0].rstrip(".")
    word = written.lower()
    has_stop = written != match[0]
    if (spoken := ABBREVIATIONS.get(word) or (DOTTED_ABBREVIATIONS.get(word) if has_stop else None)) is not None:
        return ((*parse_readings(spoken), parse_words(word)),)
    if word in SPELLED_WORDS:
        return (SPELLED_WORDS[word],)
    if word in UNITS:
        return (_read_unit_words(UNITS[word], match),)
    if word in UNITS_AFTER_DIGITS:
        before = match.string[: match.start()]
        if _AFTER_DIGIT.search(before):
            return ((*_read_unit_words(UNITS_AFTER_DIGITS[word], match), parse_words(word)),)
        if _AFTER_NUMBER_WORD.search(before):
            return ((parse_words(word), *parse_readings(UNITS_AFTER_DIGITS[word])),)
    return _read_roman(match, written) if written[0] in "MDCLXVI" else None


_AFTER_DIGIT: Final = re.compile(r"\d\s*$")


def _read_unit_words(words: str, match: re.Match[str]) -> Span:
    is_one = re.search(r"(?:(?<![\d.,])1|/)\s*$", match.string[: match.start()])
    return tuple(singular_first(each, "1" if is_one else "") for each in parse_readings(words))


Reader = Callable[[re.Match[str]], Spans | None]
"""Returns the spans of a match; None where the text stays as it is."""


def _always(text: str) -> Reader:
    span = parse_readings(text)
    return lambda _: (span,)


READERS: Final[dict[str, Reader]] = {
    "iso_date": lambda match: read_date(match[0]),
    "date": lambda match: read_date(match[0]),
    "clock": lambda match: read_clock(match[0]),
    "score": read_score,
    "day": lambda match: read_first_day(match[0]),
    "ordinal": read_ordinal,
    "money": read_money,
    "metres": read_metres,
    "half": read_half,
    "fraction": read_fraction,
    "power": read_power,
    "each": _always("el; la; por; al; a la; cada; "),
    "grouped": read_grouped,
    "number": read_number,
    "degrees": read_degrees,
    "half_day": lambda match: read_half_day(match[0]),
    "times": _always("por; equis; x; veces"),
    "divided": _always(f"{_DIVIDED}; "),
    "between": read_between,
    "minus": read_minus,
    "sign": read_sign,
    "number_sign": _always("número"),
    "fixed": read_fixed,
    "initials": read_initials,
    "page": _always("página"),
    "century": _always("siglo"),
    "don": _always("don; d"),
    "word": read_word,
}
"""The reader of each group of the pattern in `written_forms`."""
