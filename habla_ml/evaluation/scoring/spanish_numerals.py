"""Spanish numerals: cardinals, digit strings, decimals, ordinals and Roman numerals, each with its readings.

The cardinals come from num2words, which writes "treinta y uno mil" for "treinta y un mil". Its ordinals are not used:
it writes "décimoprimero" and "quadragésimo". The ordinals follow the Diccionario panhispánico de dudas, "ordinales".
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, chain
from typing import Final, Literal

from habla_ml.evaluation.scoring.readings import Reading, Span, Word, parse_words

Gender = Literal["masculine", "feminine", "short"]
"""`short` is the masculine form before a noun: primer, tercer."""

_LONGEST_QUANTITY: Final = 15
"""In digits. A longer number is an identifier, which is read digit by digit."""
_LONGEST_FREE_GROUPING: Final = 6
"""In digits. Up to here every grouping into one to three digits is a reading."""
_LONG_GROUPINGS: Final = ((3, 2, 2, 2), (3, 3, 3), (2, 3, 2, 2), (1, 2, 2, 2, 2))
"""Further groupings of longer digit strings, as telephone numbers are read."""

MILLIONS: Final = frozenset({"millón", "millones", "billón", "billones"})
_SHORT_ONE: Final = {"uno": "un", "veintiuno": "veintiún"}


@lru_cache(maxsize=65_536)
def spell_cardinal(number: int) -> Reading:
    """Return a cardinal of up to 15 digits, with the gender and short forms that its noun may ask for."""
    from num2words import num2words

    words = str(num2words(number, lang="es")).split()
    millions = max((at for at, word in enumerate(words) if word in MILLIONS), default=-1)
    return tuple(
        _inflect(word, words[at + 1] if at + 1 < len(words) else "", is_masculine=at < millions)
        for at, word in enumerate(words)
    )


def _inflect(word: str, after: str, is_masculine: bool) -> Word:
    if word in _SHORT_ONE:
        short, feminine = _SHORT_ONE[word], word.removesuffix("o") + "a"
        if is_masculine or after in MILLIONS:
            return (short,)
        return (short, feminine) if after == "mil" else (word, short, feminine)
    if word.endswith("cientos") or word == "quinientos":
        return (word,) if is_masculine else (word, word.removesuffix("os") + "as")
    return ("cien", "ciento") if word == "cien" and not after else (word,)


@lru_cache(maxsize=65_536)
def spell_digits(digits: str) -> Span:
    """Return the readings of a digit string: as a number, digit by digit, and in groups of two and three digits.

    A string of one or two digits without a zero in front is a number. One of over 15 digits is an identifier.
    """
    single = _spell_groups(digits, (1,) * len(digits))
    if len(digits) <= 2 and not (digits.startswith("0") and len(digits) == 2):
        return (spell_cardinal(int(digits)),)
    readings = [single]
    if len(digits) <= _LONGEST_QUANTITY:
        readings = [_spell_group(digits)]
        if digits == "1000":
            readings.append(parse_words("un mil"))
        groupings = _list_groupings(len(digits)) if len(digits) <= _LONGEST_FREE_GROUPING else _LONG_GROUPINGS
        readings += [_spell_groups(digits, sizes) for sizes in groupings if sum(sizes) == len(digits)]
    pairs = (len(digits) % 2,) * (len(digits) % 2) + (2,) * (len(digits) // 2)
    return tuple(dict.fromkeys([*readings, single, _spell_groups(digits, pairs)]))


@lru_cache(maxsize=65_536)
def _spell_group(digits: str) -> Reading:
    """Return the number with its leading zeros."""
    significant = digits.lstrip("0")
    zeros = (("cero",),) * (len(digits) - len(significant))
    return zeros + spell_cardinal(int(significant)) if significant else zeros


def _spell_groups(digits: str, sizes: tuple[int, ...]) -> Reading:
    ends = accumulate(sizes)
    return tuple(
        chain.from_iterable(_spell_group(digits[end - size : end]) for size, end in zip(sizes, ends, strict=True))
    )


@lru_cache(maxsize=64)
def _list_groupings(length: int) -> tuple[tuple[int, ...], ...]:
    if length == 0:
        return ((),)
    return tuple((size, *rest) for size in (3, 2, 1) if size <= length for rest in _list_groupings(length - size))


def spell_decimal(whole: str, fraction: str) -> Span:
    """Return the readings of a decimal number, with a word for the point and without it (a list: "1,2").

    2,5 is read "dos y medio" too, and 0,5 "medio".
    """
    wholes, fractions = spell_digits(whole)[:2], spell_digits(fraction)[:4]
    point: Word = ("coma", "punto", "con")
    readings = [(*one, point, *other) for one in wholes for other in fractions]
    readings += [(*one, *other) for one in wholes[:1] for other in fractions]
    if fraction == "5":
        readings.append((*wholes[0], ("y",), ("medio", "media")) if whole.strip("0") else (("medio", "media"),))
    return tuple(readings)


_ONES: Final = (
    "",
    "primero|primer",
    "segundo",
    "tercero|tercer",
    "cuarto",
    "quinto",
    "sexto",
    "séptimo|sétimo",
    "octavo",
    "noveno|nono",
)
_TENS: Final = (
    "",
    "décimo",
    "vigésimo",
    "trigésimo",
    "cuadragésimo",
    "quincuagésimo",
    "sexagésimo",
    "septuagésimo",
    "octogésimo",
    "nonagésimo",
)
_HUNDREDS: Final = (
    "",
    "centésimo",
    "ducentésimo",
    "tricentésimo",
    "cuadringentésimo",
    "quingentésimo",
    "sexcentésimo",
    "septingentésimo",
    "octingentésimo",
    "noningentésimo",
)
_OWN_ORDINALS: Final = {11: "undécimo", 12: "duodécimo"}
_PLAIN_TENS: Final = {"décimo": "decimo", "vigésimo": "vigesimo"}
"""A ten that is written as one word with its unit loses its accent."""


@lru_cache(maxsize=4096)
def spell_ordinal(number: int, gender: Gender = "masculine", is_plural: bool = False) -> Span:
    """Return the readings of an ordinal from 1 to 1000: undécimo, decimoprimero, décimo primero. From 11 on also once.

    Numbers outside this range have the readings of the cardinal only.
    """
    if not 0 < number <= 1000:
        return spell_digits(str(number))
    forms: list[tuple[str, ...]] = [("milésimo",)]
    if number < 1000:
        hundred, ten, one = _HUNDREDS[number // 100], _TENS[number // 10 % 10], _ONES[number % 10]
        forms = [(hundred, *rest) if hundred else rest for rest in _spell_below_hundred(number % 100, ten, one)]
    readings = [tuple(_agree(word, gender, is_plural) for word in form) for form in forms]
    return (*readings, *(spell_digits(str(number))[:1] if number > 10 else ()))


def _spell_below_hundred(number: int, ten: str, one: str) -> list[tuple[str, ...]]:
    if not ten or not one:
        return [tuple(each for each in (ten, one) if each)]
    apart = (ten, one)
    if ten not in _PLAIN_TENS:
        return [apart]
    prefix = _PLAIN_TENS[ten]
    joined = tuple((prefix + form).replace("oo", "o") for form in one.split("|"))
    if prefix == "vigesimo":
        return [apart, ("|".join(joined),)]
    own = [(_OWN_ORDINALS[number],)] if number in _OWN_ORDINALS else []
    return [*own, ("|".join(joined),), apart]


def _agree(word: str, gender: Gender, is_plural: bool) -> Word:
    forms = word.split("|")
    if gender == "short":
        return tuple(sorted(forms, key=lambda form: not form.endswith("er")))
    if gender == "feminine":
        forms = [re.sub(r"o$", "a", form) for form in forms if form.endswith("o")]
    return tuple(form + "s" for form in forms if not form.endswith("er")) if is_plural else tuple(forms)


_ROMAN: Final = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_VALUES: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def parse_roman(text: str) -> int | None:
    """Return the value of a Roman numeral in capitals, or None: XIX is 19, and MIL is none."""
    if not text or not _ROMAN.fullmatch(text):
        return None
    values = [_ROMAN_VALUES[letter] for letter in text]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


def _list_compact_numbers() -> dict[str, Span]:
    """Return "treintaicinco" and its like, which are spelled "treinta y cinco" too."""
    ones = {
        word: word for word in ["uno", "un", "una", "cuatro", "cinco", "siete", "ocho", "nueve", "dos", "tres", "seis"]
    }
    ones |= {"dós": "dos", "trés": "tres", "séis": "seis"}
    tens = ["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
    return {
        f"{ten}i{one}": (parse_words(f"{ten} y {spelled}"), parse_words(f"{ten}i{one}"))
        for ten in tens
        for one, spelled in ones.items()
    }


def _list_joined_ordinals() -> dict[str, Span]:
    """Return "decimotercera" and its like with "décima tercera": they differ in spelling only."""
    found: dict[str, Span] = {}
    genders: tuple[Gender, ...] = ("masculine", "feminine", "short")
    for number in (*range(11, 20), *range(21, 30)):
        for gender in genders:
            spellings = [each for each in spell_ordinal(number, gender) if each[0][0][:4].lower() in _TEN_PREFIXES]
            joined = next(each for each in spellings if len(each) == 1)
            apart = next(each for each in spellings if len(each) == 2)
            for form in joined[0]:
                found[form] = (parse_words(form), apart)
    return found


_TEN_PREFIXES: Final = frozenset({"deci", "déci", "vige", "vigé"})
SPELLED_WORDS: Final = _list_compact_numbers() | _list_joined_ordinals()
"""Number words with two spellings."""
