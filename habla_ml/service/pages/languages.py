"""The languages of the pages: messages are English in the code, and `catalogues/<language>.po` has the other ones.

The catalogues are read as they are, without a compiled copy that could be out of date.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Final

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

SOURCE_LANGUAGE: Final = "en"
LANGUAGES: Final = {"es": "Español", "en": "English"}
"""The languages with their own names, by preference where a person's own is unknown."""
_MOST_WISHES: Final = 20


@cache
def load_translations(language: str) -> NullTranslations:
    """Return the catalogue of one of `LANGUAGES`."""
    if language == SOURCE_LANGUAGE:
        return NullTranslations()
    return GNUTranslations(BytesIO(_compile_catalogue(language)))


def choose_language(chosen: Iterable[str], accept_language: str) -> str:
    """Return the first of the chosen languages that exists, or else the best one for an `Accept-Language` header."""
    for each in chosen:
        if each in LANGUAGES:
            return each
    wishes = [_parse_wish(each) for each in accept_language.split(",")[:_MOST_WISHES]]
    wanted = [tag for quality, tag in sorted(wishes, key=lambda wish: -wish[0]) if quality > 0]
    found = negotiate_locale(wanted, list(LANGUAGES), sep="-")
    return found if found is not None else next(iter(LANGUAGES))


def _compile_catalogue(language: str) -> bytes:
    compiled = BytesIO()
    with (files(__package__) / "catalogues" / f"{language}.po").open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    return compiled.getvalue()


def _parse_wish(wish: str) -> tuple[float, str]:
    tag, _, parameter = wish.partition(";")
    try:
        quality = float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        quality = 0.0
    return quality, tag.strip()
