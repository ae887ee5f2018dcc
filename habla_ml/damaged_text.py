"""What programs do to a text on its way: invisible characters, ligatures, and damage that nobody typed or said."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from habla_ml.names import is_invisible

_WINDOWS_MARKS: Final = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""What Windows-1252 has at the bytes 0x80…0x9f."""
_WRONG_ENCODING: Final = re.compile(
    f"[ÃÂ][\u0080-\u00bf{_WINDOWS_MARKS}]"  # UTF-8 that was read as Latin-1 or Windows-1252: "MaÃ±ana"
    "|â€|â‚¬|ï»¿|ï¿½"
    "|√[±°©≠≥∫]|¬[ø°]"  # or as Mac Roman: "Ma√±ana"
)
_ESCAPE: Final = re.compile(r"\\u[0-9a-fA-F]{4}|_x[0-9A-F]{4}_|%C3%[89AB][0-9A-F]")
_ENTITY: Final = re.compile(r"&#?\w{2,8};")
_CONTROL: Final = re.compile("[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Control characters but tabs, line ends and other separators."""


_LINE_END: Final = re.compile("[\u2028\u2029]")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]"
)
"""Soft hyphens, joiners, direction marks, selectors of emoji: without width, and also in the middle of a word."""
_LIGATURE: Final = re.compile("[\ufb00-\ufb06]")
"""PDF files have "ﬁesta" with one character for its first two letters."""


def compose_visible(text: str) -> str:
    """Return the characters that are seen, composed (NFC): two words stay two, and one stays one.

    >>> compose_visible("pa\N{WORD JOINER}lante\N{LINE SEPARATOR}la \N{LATIN SMALL LIGATURE FI}esta")
    'palante la fiesta'
    """
    if text.isascii():
        return text
    visible = _INVISIBLE.sub("", _LINE_END.sub(" ", text))
    return unicodedata.normalize("NFC", _LIGATURE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), visible))


def find_damage(text: str) -> str | None:
    """Return what damaged a text, as the end of a sentence, or None. It repeats nothing of the text.

    >>> find_damage("Ma\N{REPLACEMENT CHARACTER}ana")
    'has lost letters, which show as \N{REPLACEMENT CHARACTER}'
    """
    if text.isascii() and "&" not in text and text.isprintable() and not _ESCAPE.search(text):
        return None
    return next((fault for is_found, fault in _FAULTS if is_found(text)), None)


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character: only blanks, or characters without width."""
    return all(each.isspace() or is_invisible(each) for each in text)


def _has_entity(text: str) -> bool:
    return any(html.unescape(each) != each for each in _ENTITY.findall(text))


_FAULTS: Final[tuple[tuple[Callable[[str], object], str], ...]] = (
    (lambda text: "\N{REPLACEMENT CHARACTER}" in text, "has lost letters, which show as \N{REPLACEMENT CHARACTER}"),
    (_WRONG_ENCODING.search, "has accented letters in a wrong encoding"),
    (_has_entity, "has letters as HTML entities"),
    (_ESCAPE.search, "has letters as escapes of a program"),
    (_CONTROL.search, "has a control character"),
)
