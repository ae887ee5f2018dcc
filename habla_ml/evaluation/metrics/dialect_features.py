"""Find the places in a sentence where Andalusian may differ from Castilian.

Spanish spelling determines the sounds, so no dictionary is needed: `los niños` has a final s before a consonant and one
before a pause, for every speaker. A feature occurs where the dialect may change the sound, whether or not this speaker
changed it. The features are those of Narbona, Cano and Morillo, El español hablado en Andalucía, 1998.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from habla_ml.evaluation.scoring.normalisation import normalise_spanish

DialectFeature = Literal[
    "final_s_before_pause",
    "final_s_before_vowel",
    "final_s_before_consonant",
    "s_before_consonant",
    "seseo",
    "ceceo",
    "yeismo",
    "participle_d",
    "intervocalic_d",
    "final_consonant",
    "vowel_contact",
    "l_before_consonant",
    "learned_cluster",
    "jota",
    "che",
    "para",
]
DIALECT_FEATURES: Final[tuple[DialectFeature, ...]] = get_args(DialectFeature)
"""The order of the second axis of every array; the most typical features of Andalusian first."""

FEATURE_EXAMPLES: Final[dict[DialectFeature, str]] = {
    "final_s_before_pause": "los niños. → niño",
    "final_s_before_vowel": "los amigos → loh amigos",
    "final_s_before_consonant": "las casas → la casas",
    "s_before_consonant": "escuela → ehcuela",
    "seseo": "gracias, zapato → grasias, sapato",
    "ceceo": "casa → caza",
    "yeismo": "pollo → poyo",
    "participle_d": "cansado → cansao",
    "intervocalic_d": "todo → too",
    "final_consonant": "verdad, comer → verdá, comé",
    "vowel_contact": "para ahora → parahora",
    "l_before_consonant": "alto → arto",
    "learned_cluster": "examen, doctor → esamen, dotor",
    "jota": "mejor → mehor",
    "che": "muchacho → mushasho",
    "para": "para la → pa la",
}
"""Examples for the report."""

_VOWELS: Final = "aeiouü"
_CONSONANTS: Final = "bcdfgjklmnñpqrstvwxyz"  # without h, which is silent
WITHOUT_ACCENTS: Final = str.maketrans("áéíóúàèìòù", "aeiouaeiou")
"""For `str.translate`. ñ and ü stay, and so does the length of the text."""
_PAUSE: Final = re.compile(r"(?<=[.,;:!?…])\s+|\s[-–—]\s|[\n\r]+")


@dataclass(frozen=True)
class FeatureOccurrence:
    """One place in a sentence where the dialect may change the sound."""

    word: int
    """Index in the words of the normalised sentence."""
    start: int
    end: int
    """The letters `word[start:end]`."""
    feature: DialectFeature


@dataclass(frozen=True)
class AnnotatedSentence:
    """The words of a normalised sentence and its dialect features, in reading order."""

    words: tuple[str, ...]
    features: tuple[FeatureOccurrence, ...]


def find_dialect_features(sentences: Sequence[str]) -> list[AnnotatedSentence]:
    """Find the dialect features of each sentence, as written or normalised.

    The words are those of `normalise_spanish`. Punctuation and the end of a sentence are pauses.
    """
    inside_word: dict[str, tuple[tuple[int, int, DialectFeature], ...]] = {}
    annotated = []
    for sentence in sentences:
        words: list[str] = []
        features = []
        for clause in _split_clauses(sentence):
            for before, word, after in zip([None, *clause], clause, [*clause[1:], None], strict=False):
                if word not in inside_word:
                    inside_word[word] = tuple(_find_inside_word(word.translate(WITHOUT_ACCENTS)))
                spans = sorted([*inside_word[word], *_find_at_word_edges(word, before, after)])
                features += [FeatureOccurrence(len(words), start, end, feature) for start, end, feature in spans]
                words.append(word)
        annotated.append(AnnotatedSentence(tuple(words), tuple(features)))
    return annotated


def _split_clauses(sentence: str) -> list[list[str]]:
    """Return the words between pauses; one clause if a split at the punctuation would change the words."""
    whole = normalise_spanish(sentence).split()
    parts = _PAUSE.split(sentence)
    if len(parts) == 1:
        return [whole]
    clauses = [normalise_spanish(part).split() for part in parts]
    return clauses if [word for clause in clauses for word in clause] == whole else [whole]


_INSIDE_PATTERNS: Final[tuple[tuple[DialectFeature, re.Pattern[str]], ...]] = (
    ("s_before_consonant", re.compile(rf"[sxz](?=[{_CONSONANTS}])")),
    ("seseo", re.compile(r"z|c(?=[ei])")),
    ("ceceo", re.compile(rf"s(?=h?[{_VOWELS}])")),
    ("yeismo", re.compile(rf"ll|y(?=[{_VOWELS}])")),
    ("participle_d", re.compile(r"(?<=.[ai])d[oa](?=s?$)")),
    ("intervocalic_d", re.compile(rf"(?<=[{_VOWELS}])d[{_VOWELS}](?!(?<=.[ai]d[oa])s?$)")),
    ("final_consonant", re.compile(rf"(?<=.[{_VOWELS}])[rlndzj]$")),
    ("l_before_consonant", re.compile(rf"(?<=[^l])l(?=[{_CONSONANTS.replace('l', '')}])")),
    (
        "learned_cluster",
        re.compile(rf"c(?=[ct])|(?<=.)x|p(?=[tcs])|b(?=[st][{_CONSONANTS}{_VOWELS}])|(?<=.)g(?=n)"),
    ),
    ("jota", re.compile(r"j|g(?=[ei])")),
    ("che", re.compile(r"ch")),
    ("para", re.compile(r"(?<=^pa)ra$")),
)


def _find_inside_word(plain: str) -> Iterator[tuple[int, int, DialectFeature]]:
    """Yield the spans in a word without accents that do not depend on its neighbours."""
    for feature, pattern in _INSIDE_PATTERNS:
        for match in pattern.finditer(plain):
            yield *match.span(), feature


def _find_at_word_edges(word: str, before: str | None, after: str | None) -> Iterator[tuple[int, int, DialectFeature]]:
    """Yield the final s, and the vowels in contact with a neighbouring word; None is a pause."""
    end = len(word)
    if end > 1 and word[-1] == "s":
        if after is None:
            yield end - 1, end, "final_s_before_pause"
        elif _begins_with_vowel(after):
            yield end - 1, end, "final_s_before_vowel"
        else:
            yield end - 1, end, "final_s_before_consonant"
    if after is not None and _ends_in_vowel(word) and _begins_with_vowel(after):
        yield end - 1, end, "vowel_contact"
    if before is not None and _ends_in_vowel(before) and _begins_with_vowel(word):
        yield 0, 2 if word[0] == "h" else 1, "vowel_contact"


def _begins_with_vowel(word: str) -> bool:
    """Return whether the first sound is a vowel, as in `hora` and `y`; `hielo` and `hueso` begin with a glide."""
    plain = word.translate(WITHOUT_ACCENTS)
    return plain == "y" or bool(re.match(r"(?!hi[eao]|hu[eaio])h?[aeiou]", plain))


def _ends_in_vowel(word: str) -> bool:
    return word.translate(WITHOUT_ACCENTS)[-1] in "aeiouy"
