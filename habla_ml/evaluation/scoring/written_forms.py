"""Find what Spanish texts write in digits, signs and abbreviations.

One pattern with a named group for each kind of written form finds the forms from left to right; at each place the first
kind that matches wins. `form_readers` has a reader for each kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from habla_ml.evaluation.scoring.abbreviations import (
    CURRENCIES,
    DOTTED_ABBREVIATIONS,
    FORMS_BY_WORD,
    NOUNS_WITH_HALVES,
    UNITS,
    UNITS_AFTER_DIGITS,
)
from habla_ml.evaluation.scoring.dates_and_times import MONTHS

_CURRENCY_SIGN: Final = f"[{''.join(CURRENCIES)}]"
_CURRENCY: Final = f"(?:US\\$|{_CURRENCY_SIGN})"
_QUANTITY: Final = r"\d+(?:[.,]\d+)*"
_GROUPED: Final = r"\d{1,3}(?:[\ \u00a0\u202f]\d{3})+(?:,\d+)?(?!\d|[.,]\d)"


def _alternate(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_MONTH: Final = _alternate(month for names in MONTHS for month in names.split("|"))
_HALVED: Final = _alternate([*NOUNS_WITH_HALVES, *UNITS, *UNITS_AFTER_DIGITS])

_NUMERIC: Final = rf"""
    (?:(?<=\d)|(?![^\W\d_ºª²³½¼¾]|\s))(?:  # after a digit, or at no letter or space
          (?P<iso_date>(?<![\w.,/-])\d{{4}}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])(?![\w/-]))
        | (?P<date>(?<![\w.,/-])(?:0?[1-9]|[12]\d|3[01])
            (?P<separator>[/.-])(?:0?[1-9]|1[0-2])(?P=separator)(?:\d{{4}}|\d{{2}})(?![\d/-]|[.,]\d))
        | (?P<clock>(?<![\d:.,/])(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d)?(?![\d:])(?:\s?h(?:rs|s)?\b\.?)?
            |(?<=\blas\ )(?:[01]?\d|2[0-4])[.][0-5]\d(?![\d.,%])(?:\s?h(?:rs|s)?\b\.?)?
            |(?<![\d:.,/])(?:[01]?\d|2[0-4])(?:\s?h\s?|[.])[0-5]\d\s?(?:h(?:rs|s)?|min)\b\.?
            |(?<![\d:.,/])(?:[01]?\d|2[0-4])h[0-5]\d\b)
        | (?P<score>(?<![\d:.,/])\d{{1,3}}\s?:\s?\d{{1,3}}(?![\d:.,/]))
        | (?P<day>(?<![\w.,/-])1(?=\s+de\s+(?:{_MONTH})\b))
        | (?P<ordinal>(?<![\w.,])\d{{1,4}}(?:
              \s?\.?\s?[ºª°](?!\s?[CFcf]\b)(?:s\b)?
            | \.?(?:e?r[oa]s?|er|do|da|to|ta|mo|ma|vo|va|no|na|os|as)\b\.?
            | [oa]\b))
        | (?P<money>{_CURRENCY}\s?(?:{_GROUPED}|{_QUANTITY})|(?:{_GROUPED}|{_QUANTITY})\s?{_CURRENCY})
        | (?P<metres>(?<![\d.,/])\d{{1,3}}[.,]\d\d\s?(?:m|metros?)(?![\w/²³]))
        | (?P<half>(?<![\d.,/])\d+(?:[.,]50?|\s?½|\s1/2)\s*(?:{_HALVED})(?![\w/²³]))
        | (?P<fraction>(?<![\d/.,])\d{{1,3}}/\d{{1,4}}(?![\d/]|[.,]\d))
        | (?P<power>(?<=\d)\s?[²³]|(?<=(?<![^\W\d_ºª²³½¼¾])[a-z])(?:[²³]|\^-?\d{{1,2}}\b)
            |(?<=\d)\s?\^\s?-?\d{{1,2}}\b)
        | (?P<each>(?<={_CURRENCY_SIGN})/(?=[^\W\d_])|(?<={_CURRENCY_SIGN}\s)/(?=\s?[^\W\d_]))
        | (?P<grouped>(?<![\d.,]){_GROUPED})
        | (?P<number>{_QUANTITY})
        | (?P<degrees>(?:(?<=\d)\s?)?[°º]\s?(?:[CF]\b)?)
        | (?P<half_day>(?<=\d)\s?[ap]\.?\s?m\b\.?)
        | (?P<times>(?<=\d)\s?[x×*·]\s?(?=\d)|×)
        | (?P<divided>(?<=\d)(?:\s/\s|\s?÷\s?)(?=\d)|÷)
        | (?P<between>(?<=\d)\s?[-−–]\s?(?=\d))
        | (?P<minus>(?<![^\s(=+×*/])[-−–](?=\d)|−)
        | (?P<sign>[%‰€$£¥&@#+=½¼¾√≥≤])
    )
    """
_VERBAL: Final = r"""
    (?<![^\W\d_ºª²³½¼¾])(?=[^\W\d_])(?:  # at the first letter of a word
          (?P<number_sign>n(?:\.?\s?[º°]|º)\.?)
        | (?P<fixed>(?:p[\W_]*ej|[ad]\.\s?(?:de\s)?(?-i:C)|e{2}[\W_]*u{2})(?![^\W\d_])\.?|d\.ª|prof\.ª|c/(?=\s?\w))
        | (?P<initials>(?-i:(?:[A-ZÁÉÍÓÚÑ]\.){2,}[A-ZÁÉÍÓÚÑ]?)(?![^\W\d_]))
        | (?P<page>p\.\s?(?=\d))
        | (?P<century>s\.\s?(?=(?-i:[XVI]+\b)))
        | (?P<don>d\.(?=\s?(?-i:[A-ZÁÉÍÓÚÑ])))
        | (?P<word>(?:[kc]?m[²³]|(?:k?m/[hs]|[kc]?m[23]|[^\W\d_²³]+)(?![^\W\d_ºª²³½¼¾]))\.?)
    )
    """

NUMERIC_FORM: Final = re.compile(_NUMERIC, re.VERBOSE | re.IGNORECASE)
"""Finds what begins with a digit or a sign."""
WRITTEN_FORM: Final = re.compile(f"{_NUMERIC}|{_VERBAL}", re.VERBOSE | re.IGNORECASE)
"""Finds abbreviations, units and Roman numerals too, and looks at every word."""

SIGN: Final = re.compile(r"[\d%‰€$£¥&@#+=½¼¾√≥≤²³°ºª×÷−]")
"""A text with one of these may have numeric forms."""
WORD_SIGN: Final = re.compile(r"[\d½¼¾²³][^\W\d_]|[^\W\d_](?:\d|\.[^\W\d_]\b)|\b[MDCLXVI]{2,}\b|º|ª")
"""A text with one of these may have verbal forms: a unit at its number, initials, a Roman numeral, n.º."""
FORM_WORDS: Final = frozenset([*FORMS_BY_WORD, *DOTTED_ABBREVIATIONS, *"pscndivxlcm", "ee"])
"""A text with one of these words may have verbal forms."""
