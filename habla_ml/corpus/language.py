"""Language detection for transcripts by function words: Spanish, English, another script, or unknown.

It uses function words that only one of the two languages has, and letters that English lacks; no model is needed.
English and other scripts are the frequent mistakes in a Spanish classroom (a translation in the transcript field).
Other languages in Latin script, such as Portuguese or French, count as unknown. `docs/corpus_report.md` has the
measured error rates.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

Language = Literal["es", "en", "other script"]

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SPANISH_WORDS: Final = (
    "al ahora algo aquí así aunque bien cada como con cosa cuál cuando cuándo cuánto de del desde donde dónde "
    "dos e el él ella ellos en entonces entre era es esa ese eso esta está están estar estas este esto estos estoy "
    "fue gracias ha hace han hasta hay hoy hola la las le les lo los luego más mañana mi mí mis muy "
    "nada ni niños nos nosotros o os otra otro otros para pero poco por porque pues puede puedo que qué quién "
    "sé se sea ser sí si siempre sin sobre sois somos soy su sus también tan te tengo ti tiene tienen todo todos "
    "tu tú tus un una uno unos va vale vamos vais veo voy ya y yo"
)
_ENGLISH_WORDS: Final = (
    "about after all an and any are aren't as at away because been before both but by can can't could did didn't do "
    "does doesn't don't down each every for from get give go goes going good got had hasn't have her here him his "
    "how i i'll i'm if in into is isn't it it's its just know let let's like look make many more most much my need "
    "not now of off on only or other our out over please put read right said say see she should so some take tell "
    "than that that's the their them then there these they this those time to today tomorrow too two under up us "
    "use very was wasn't we we're were what when where which while who why will with without won't would write "
    "yes yesterday yet you your you're"
)
_SPANISH: Final = frozenset(_SPANISH_WORDS.split())
_ENGLISH: Final = frozenset(_ENGLISH_WORDS.split())
_SPANISH_LETTERS: Final = frozenset("áéíóúüñ¿¡")
_LAST_LATIN: Final = "\u024f"
_MIN_ENGLISH_WORDS: Final = 2
"""One English word may be a loan ("el weekend"); two, with fewer Spanish words, are an English sentence."""


def detect_language(sentence: str) -> Language | None:
    """Return the language of a transcript, or None with too few function words."""
    folded = sentence.casefold()
    words = _WORD.findall(folded)
    if not words:
        return None
    if max(folded) > _LAST_LATIN and _is_mostly_other_script("".join(words)):
        return "other script"
    spanish = sum(map(_SPANISH.__contains__, words)) + (not _SPANISH_LETTERS.isdisjoint(folded))
    english = sum(map(_ENGLISH.__contains__, words))
    if english >= _MIN_ENGLISH_WORDS and english > spanish:
        return "en"
    return "es" if spanish > english else None


def _is_mostly_other_script(letters: str) -> bool:
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin < len(letters)
