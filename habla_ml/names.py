"""One canonical form for the names that people type: speakers, contributors, annotators, sessions and files.

The same name arrives with composed and decomposed accents (macOS), in capitals, with blanks around it, or with
characters that have no width. Names are compared, grouped and looked up by their canonical form only. They are stored
and shown as typed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

_CACHED_NAMES: Final = 65_536
_SPACED_HYPHEN: Final = re.compile(" ?- ?")
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf"})
_VARIATION_SELECTORS: Final = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x034F)))


@lru_cache(_CACHED_NAMES)
def canonical_name(name: str) -> str:
    """Return the form by which names are compared: equal for all spellings of one name, empty for a blank one.

    It is Unicode's compatibility caseless form (NFKC and case folding, Unicode Standard 3.13, D146), without invisible
    characters, with single spaces, and without spaces around a hyphen, because a table's session is its name, a hyphen
    and the speaker. Two people whose names differ only in these count as one person. Accents count: "Lucia" and "Lucía"
    are two names.
    """
    if name.isascii() and name.isalnum():
        return name.lower()
    visible = "".join(" " if each.isspace() else each for each in name if each.isspace() or not is_invisible(each))
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", visible).casefold()).casefold()
    spaced = " ".join(unicodedata.normalize("NFKC", " ".join(folded.split())).split())
    return _SPACED_HYPHEN.sub("-", spaced)


def is_same_name(name: str, other: str) -> bool:
    """Return whether two spellings are one name."""
    return canonical_name(name) == canonical_name(other)


@lru_cache(_CACHED_NAMES)
def matches_pattern(name: str, pattern: str) -> bool:
    """Return whether a name, or its canonical form, matches a pattern with `*`, `?` and `[…]`."""
    return fnmatchcase(canonical_name(name), canonical_name(pattern)) or fnmatchcase(name, pattern)


def choose_spellings(names: Iterable[str]) -> dict[str, str]:
    """Return name → the spelling to show for all names with the same canonical form: the most frequent one.

    Equally frequent spellings are sorted, so that the same names give the same spelling.
    """
    counts = Counter(names)
    chosen: dict[str, str] = {}
    for name in sorted(counts, key=lambda each: (-counts[each], each)):
        chosen.setdefault(canonical_name(name), name)
    return {name: chosen[canonical_name(name)] for name in counts}


def canonical_file_name(name: str) -> str:
    """Return the form by which file names and relative paths are compared: NFC, as macOS writes NFD.

    Capitals and blanks count, because a folder can have two files that differ only in these. Compare suffixes in lower
    case where a file's type matters.
    """
    return unicodedata.normalize("NFC", name)


def escape_name(name: str) -> str:
    """Return a name or path of a file system that can be printed, stored and hashed; bytes that are not UTF-8 are escaped."""
    return name if name.isprintable() else name.encode("utf-8", "backslashreplace").decode()


def is_invisible(character: str) -> bool:
    """Return whether a character has no width and no meaning of its own: a control, a format or a variation selector."""
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES or character in _VARIATION_SELECTORS
