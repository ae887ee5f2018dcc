"""Write signs that stand for others in one way, before the written forms are looked for.

A vulgar fraction becomes 1/3, a subscript a digit, a superscript ^4, the apostrophe of a decimal number a comma.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

INVISIBLE: Final = re.compile("[\u0300-\u036f\u00ad\u200b-\u200f\u2060\ufeff'’‘ʼ´`]")
"""Characters inside words that are deleted: marks without a base letter, breaks without width, apostrophes."""

_APOSTROPHE: Final = "'’ʼ´′"
_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT: Final = "[⁰¹²³⁴-⁹]"


def _spell_minutes(match: re.Match[str]) -> str:
    """Return 5'30" in words; after an opening quotation mark the last sign is the closing one."""
    is_quoted = match[0].endswith('"') and match.string.count('"', 0, match.start()) % 2
    return match[0] if is_quoted else f"{match[1]} minutos {match[2]} segundos"


_Replacement = str | Callable[[re.Match[str]], str]
_REWRITES: Final[tuple[tuple[re.Pattern[str], _Replacement], ...]] = (
    (re.compile(rf"(\d+)[{_APOSTROPHE}]\s?(\d{{1,2}})(?:''|[\"”″])"), _spell_minutes),
    (re.compile(rf"(?<=\d)[{_APOSTROPHE}](?=\d{{1,2}}\b)"), ","),  # 7'5
    (re.compile(rf"(?<=\d)[{_APOSTROPHE}]s\b"), ""),  # los años 90's
    (INVISIBLE, ""),
    (re.compile(r"(\d)\s?([⅐-⅞])"), lambda match: f"{match[1]} y {_spell_out_fraction(match[2])}"),
    (re.compile("[⅐-⅞]"), lambda match: f" {_spell_out_fraction(match[0])}"),
    (re.compile(r"(?<=[^\W\d_½¼¾])(?=[½¼¾])"), " "),
    (re.compile("[₀-₉]"), lambda match: unicodedata.normalize("NFKC", match[0])),
    (
        re.compile(
            rf"(?<=\w)(?:⁻{_SUPERSCRIPT}+|{_SUPERSCRIPT}{{2,}}|[⁰¹⁴-⁹])|(?<=[^\W\d_]{{2}})(?<![kc]m)[²³]", re.IGNORECASE
        ),
        lambda match: f"^{match[0].translate(_SUPERSCRIPTS)}",
    ),
    (re.compile(rf"(?<![^\W_ºª½¼¾]){_SUPERSCRIPT}+"), ""),
    (re.compile(r"(?<=\d)\s?M\s?€"), " millones de €"),
)


def rewrite_signs(text: str) -> str:
    """Return the text (NFC) with its fractions, subscripts, superscripts and apostrophes in one form."""
    if text.isascii() and "'" not in text and "`" not in text:
        return text
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _spell_out_fraction(sign: str) -> str:
    return unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
