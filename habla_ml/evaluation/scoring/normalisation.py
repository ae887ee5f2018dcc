"""Normalise Spanish texts before their words are counted.

Accents and ñ stay: `papa` and `papá` are different words. Case, punctuation and the way a number is written are
conventions, so they are normalised. Hesitations stay, because the corpus conventions decide whether they are written.

What is written in digits, signs or abbreviations can often be read in several ways. The result then keeps all readings
(`readings.TextWithReadings`), and `readings.choose_reading` chooses one against a reference. There is no canonical form
of words, because it would hide errors: with one form for `un` and `uno`, a recogniser that confuses them has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from habla_ml.evaluation.scoring.form_readers import READERS
from habla_ml.evaluation.scoring.readings import Span, TextWithReadings, choose_reading
from habla_ml.evaluation.scoring.sign_rewrites import INVISIBLE, rewrite_signs
from habla_ml.evaluation.scoring.written_forms import FORM_WORDS, NUMERIC_FORM, SIGN, WORD_SIGN, WRITTEN_FORM

NORMALISER_VERSION = "spanish-4"
"""Change it whenever `normalise_spanish` may return another text or other readings; every comparison stores it."""

Normaliser = Callable[[str], str]

MARKER = re.compile(r"\[[^\[\]]{0,60}\]|<[^<>]{0,60}>")
_NOT_WORD = re.compile(r"[^\w\s]|_")


def normalise_orthographic(text: str) -> str:
    """Return the text as written, in canonical Unicode (NFC) with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalise_spanish(text: str) -> str:
    """Return the words of a Spanish text: lower case, no punctuation or markers, numbers in words.

    `¡El 50% de 1.500, no 3,14! [ruido]` gives `el cincuenta por ciento de mil quinientos no tres coma catorce`.
    Markers are texts in square or angle brackets. Apostrophes are deleted (`pa'lante` gives `palante`); other
    punctuation separates words. Where the text has several readings, the result is a `TextWithReadings`.
    """
    text = rewrite_signs(MARKER.sub(" ", unicodedata.normalize("NFC", text)))
    words = _split_words(text)
    form = NUMERIC_FORM
    if WORD_SIGN.search(text) is not None or not FORM_WORDS.isdisjoint(words):
        form = WRITTEN_FORM
    elif SIGN.search(text) is None:
        return " ".join(words)
    return TextWithReadings.of(tuple(_find_spans(text, form)))


def normalise_spanish_pair(reference: str, hypothesis: str) -> tuple[str, str]:
    """Return the words of both texts, those of the hypothesis in the reading that is nearest to the reference."""
    words = normalise_spanish(reference)
    return str(words), choose_reading(words, normalise_spanish(hypothesis))


def _split_words(text: str) -> list[str]:
    return _NOT_WORD.sub(" ", INVISIBLE.sub("", unicodedata.normalize("NFC", text.lower()))).split()


def _find_spans(text: str, form: re.Pattern[str]) -> Iterator[Span]:
    """Yield the spans of a text without markers, in reading order."""
    start = 0
    for match in form.finditer(text):
        spans = READERS[str(match.lastgroup)](match)
        if spans is not None:
            yield from ((((word,),),) for word in _split_words(text[start : match.start()]))
            yield from spans
            start = match.end()
    yield from ((((word,),),) for word in _split_words(text[start:]))
