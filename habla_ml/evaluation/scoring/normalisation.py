"""Normalise Spanish texts before their words are counted.

Accents and ñ stay: `papa` and `papá` are different words. Case, punctuation and the way a number is written are
conventions, so they are normalised. Hesitations stay, because the corpus conventions decide whether they are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

NORMALISER_VERSION = "spanish-1"
"""Change it whenever `normalise_spanish` may return another text; every comparison stores it."""

Normaliser = Callable[[str], str]

MARKER = re.compile(r"\[[^\[\]]{0,60}\]|<[^<>]{0,60}>")
_INVISIBLE = re.compile("[\u0300-\u036f\u00ad\u200b-\u200f\u2060\ufeff'’ʼ]")
_PERCENT = re.compile(r"(?<=\d)\s*%")
_EURO = re.compile(r"(?<=\d)\s*€")
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,3})\s?(?:\.?\s?([ºª°])|\.?(er)\b)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.]|,\d{3}[.,])")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"(\d+)(?:[.,](\d+))?")
_NOT_WORD = re.compile(r"[^\w\s]|_")
_LONGEST_QUANTITY = 15
"""In digits. A longer number is an identifier, which is read digit by digit."""


def normalise_orthographic(text: str) -> str:
    """Return the text as written, in canonical Unicode (NFC) with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalise_spanish(text: str) -> str:
    """Return the words of a Spanish text: lower case, no punctuation or markers, numbers in words.

    `¡El 50% de 1.500, no 3,14! [ruido]` gives `el cincuenta por ciento de mil quinientos no tres coma catorce`.
    Markers are texts in square or angle brackets. Apostrophes are deleted (`pa'lante` gives `palante`); other
    punctuation separates words. A decimal point and a decimal comma are both read `coma`, as in Spain.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    text = _INVISIBLE.sub("", MARKER.sub(" ", text))
    if _DIGIT.search(text):
        text = _EURO.sub(" euros ", _PERCENT.sub(" por ciento ", text))
        text = _ORDINAL.sub(_spell_ordinal, text)
        text = _THOUSANDS.sub(lambda found: found[0].replace(".", ""), text)
        text = _NUMBER.sub(_spell_quantity, text)
    return " ".join(_NOT_WORD.sub(" ", text).split())


def _spell_ordinal(found: re.Match[str]) -> str:
    from num2words import num2words

    number = int(found[1])
    if number == 0:
        return found[0]
    words = str(num2words(number, lang="es", to="ordinal"))
    if found[3]:  # 1er, 3er: the short form before a noun
        words = re.sub(r"(prim|terc)ero$", r"\1er", words)
    elif found[2] == "ª":
        words = re.sub(r"o\b", "a", words)
    return f" {words} "


def _spell_quantity(found: re.Match[str]) -> str:
    whole, fraction = found[1], found[2]
    words = _spell_digits(whole)
    return f" {words} coma {_spell_digits(fraction)} " if fraction else f" {words} "


@lru_cache(maxsize=65_536)
def _spell_digits(digits: str) -> str:
    """Return a number in words, with its leading zeros; an identifier is read digit by digit."""
    from num2words import num2words

    if len(digits) > _LONGEST_QUANTITY:
        return " ".join(str(num2words(int(digit), lang="es")) for digit in digits)
    significant = digits.lstrip("0")
    words = ["cero"] * (len(digits) - len(significant))
    if significant:
        words.append(str(num2words(int(significant), lang="es")))
    return " ".join(words)
