"""Andalusian speech as rules on Castilian phonemes: the spelling stays, the sound changes.

Each rule is named after the feature that Spanish dialectology knows it by (Narbona, Cano & Morillo, *El español
hablado en Andalucía*, 1998) and carries its own examples, which the tests check. A speaker applies a rule at
each place with a probability of their own. What belongs elsewhere: voices (`speech`), rooms (`acoustics`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from habla_ml.demo.speech import Clause, Word
from habla_ml.errors import InputError

Chance = Callable[[], bool]
"""Asked at every place where a rule could apply; true where it does."""

_VOWELS = frozenset("aeiouAEIOU")


@dataclass(frozen=True)
class Example:
    """What a rule makes of a clause when it always applies, in `speech.write_clause` notation."""

    spelling: str
    castilian: str
    andalusian: str


@dataclass(frozen=True)
class Rule:
    """One feature of Andalusian speech.

    Attributes:
        name: What dialectology calls it.
        change: Rewrites a clause, asking its chance at every place.
        examples: Cases that the tests hold.
    """

    name: str
    change: Callable[[Clause, Chance], Clause]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Dialect:
    """How often one speaker applies each rule: pairs of rule name and probability, 0 to 1."""

    probabilities: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        known = {rule.name for rule in RULES}
        for name, probability in self.probabilities:
            if name not in known or not 0.0 <= probability <= 1.0:
                raise InputError(
                    f"Dialect rule {name!r} with probability {probability}: "
                    f"take a rule of {sorted(known)} and a number from 0 to 1."
                )


def andalusian(strength: float, rng: np.random.Generator) -> Dialect:
    """A speaker's dialect: every rule about as likely as `strength` (0 to 1), some more and some less."""
    jitter = rng.uniform(-0.15, 0.15, size=len(RULES))
    return Dialect(
        tuple((rule.name, float(np.clip(strength + by, 0.0, 1.0))) for rule, by in zip(RULES, jitter, strict=True))
    )


def pronounce(clauses: tuple[Clause, ...], dialect: Dialect, rng: np.random.Generator) -> tuple[Clause, ...]:
    """Castilian phonemes as a speaker of the dialect says them, this time."""
    probability = dict(dialect.probabilities)
    spoken = []
    for clause in clauses:
        for rule in RULES:
            chance = probability.get(rule.name, 0.0)
            if chance > 0.0:
                clause = rule.change(clause, lambda chance=chance: bool(rng.random() < chance))  # type: ignore[misc]
        spoken.append(clause)
    return tuple(spoken)


def _is_vowel(phoneme: str) -> bool:
    return phoneme.lstrip("',")[:1] in _VOWELS


def _is_stressed(phoneme: str) -> bool:
    return phoneme.startswith("'")


def _each_word(change: Callable[[Word, Chance], Word]) -> Callable[[Clause, Chance], Clause]:
    return lambda clause, chance: tuple(change(word, chance) for word in clause)


def _replace(old: str, new: str) -> Callable[[Clause, Chance], Clause]:
    def change(word: Word, chance: Chance) -> Word:
        return tuple(new if phoneme == old and chance() else phoneme for phoneme in word)

    return _each_word(change)


def _para_to_pa(word: Word, chance: Chance) -> Word:
    letters = tuple(phoneme.lstrip("',") for phoneme in word)
    return ("p", word[-1]) if letters == ("p", "a", "**", "a") and chance() else word


def _drop_participle_d(word: Word, chance: Chance) -> Word:
    for size in (3, 4):
        vowel, *rest = word[-size:]
        if len(word) > size and vowel == "'a" and rest[:2] in (["D", "o"], ["D", "a"]) and rest[2:] in ([], ["s"]):
            if not chance():
                return word
            ending = (vowel, *rest[1:]) if rest[1] == "o" else (vowel, *rest[2:])
            return word[:-size] + ending
    return word


def _drop_weak_d(word: Word, chance: Chance) -> Word:
    kept = [
        phoneme
        for place, phoneme in enumerate(word)
        if not (
            phoneme == "D"
            and 0 < place < len(word) - 1
            and _is_vowel(word[place - 1])
            and _is_vowel(word[place + 1])
            and chance()
        )
    ]
    return tuple(kept)


def _simplify_cluster(word: Word, chance: Chance) -> Word:
    kept = [
        phoneme
        for place, phoneme in enumerate(word)
        if not (phoneme == "k" and word[place + 1 : place + 2] in (("s",), ("t",), ("T",)) and chance())
    ]
    return tuple(kept)


def _aspirate_inner_s(word: Word, chance: Chance) -> Word:
    return tuple(
        "h" if phoneme == "s" and _before_consonant(word, place) and chance() else phoneme
        for place, phoneme in enumerate(word)
    )


def _before_consonant(word: Word, place: int) -> bool:
    return place + 1 < len(word) and not _is_vowel(word[place + 1]) and word[place + 1] not in ("j", "w")


def _weaken_final_s(clause: Clause, chance: Chance) -> Clause:
    words = []
    for place, word in enumerate(clause):
        if len(word) > 1 and word[-1] in ("s", "T") and chance():
            following = clause[place + 1 : place + 2]
            # [h] links to a following vowel ("loh amigos"); before a consonant or a pause it is lost.
            word = (*word[:-1], "h") if following and _is_vowel(following[0][0]) else word[:-1]
        words.append(word)
    return tuple(words)


def _drop_final_consonant(word: Word, chance: Chance) -> Word:
    weak = len(word) > 2 and word[-1] in ("d", "D", "r", "**", "l", "x") and _is_vowel(word[-2])
    return word[:-1] if weak and chance() else word


def _l_to_r(word: Word, chance: Chance) -> Word:
    return tuple(
        "r" if phoneme == "l" and place > 0 and _before_consonant(word, place) and chance() else phoneme
        for place, phoneme in enumerate(word)
    )


def _merge_vowels(clause: Clause, chance: Chance) -> Clause:
    words: list[Word] = []
    for word in clause:
        before = words[-1] if words else ()
        mergeable = (
            len(before) > 1
            and _is_vowel(before[-1])
            and not _is_stressed(before[-1])
            and len(before[-1].lstrip("',")) == 1
            and _is_vowel(word[0])
            and not any(";" in phoneme for phoneme in before[-1:])
        )
        if mergeable and chance():
            words[-1] = before[:-1] + word
        else:
            words.append(word)
    return tuple(words)


RULES: tuple[Rule, ...] = (
    Rule("seseo", _replace("T", "s"), (Example("gracias", "Q|**|'a|T|j|a|s", "Q|**|'a|s|j|a|s"),)),
    Rule("yeísmo", _replace("l^", "J^"), (Example("llave", "l^|'a|B|e", "J^|'a|B|e"),)),
    Rule("apócope de para", _each_word(_para_to_pa), (Example("para la", "p|,a|**|a l|a", "p|a l|a"),)),
    Rule(
        "participio en -ao",
        _each_word(_drop_participle_d),
        (
            Example("pasado", "p|a|s|'a|D|o", "p|a|s|'a|o"),
            Example("hablados", "a|B|l|'a|D|o|s", "a|B|l|'a|o|s"),
            Example("pasada", "p|a|s|'a|D|a", "p|a|s|'a"),
        ),
    ),
    Rule("caída de la d intervocálica", _each_word(_drop_weak_d), (Example("todo", "t|'o|D|o", "t|'o|o"),)),
    Rule(
        "reducción de grupos cultos",
        _each_word(_simplify_cluster),
        (Example("examen", "e|k|s|'a|m|e|n", "e|s|'a|m|e|n"), Example("doctor", "d|o|k|t|'o|r", "d|o|t|'o|r")),
    ),
    Rule(
        "aspiración de la s ante consonante",
        _each_word(_aspirate_inner_s),
        (Example("escuela", "e|s|k|w|'e|l|a", "e|h|k|w|'e|l|a"), Example("mesa", "m|'e|s|a", "m|'e|s|a")),
    ),
    Rule(
        "aspiración o pérdida de la s final",
        _weaken_final_s,
        (
            Example("los niños", "l|o|s n|'i|n^|o|s", "l|o n|'i|n^|o"),
            Example("los amigos", "l|o|s a|m|'i|Q|o|s", "l|o|h a|m|'i|Q|o"),
        ),
    ),
    Rule("aspiración de la jota", _replace("x", "h"), (Example("mejor", "m|e|x|'o|r", "m|e|h|'o|r"),)),
    Rule("relajación de la che", _replace("tS", "S"), (Example("muchacho", "m|u|tS|'a|tS|o", "m|u|S|'a|S|o"),)),
    Rule(
        "pérdida de la consonante final",
        _each_word(_drop_final_consonant),
        (Example("ciudad", "T|j|u|D|'a|d", "T|j|u|D|'a"), Example("jugar", "x|u|Q|'a|r", "x|u|Q|'a")),
    ),
    Rule("rotacismo", _each_word(_l_to_r), (Example("alto", "'a|l|t|o", "'a|r|t|o"),)),
    Rule(
        "fusión de vocales entre palabras",
        _merge_vowels,
        (
            Example("para ahora", "p|a|**|a a|'o|**|a", "p|a|**|a|'o|**|a"),
            Example("sé algo", "s|'e a|l|Q|o", "s|'e a|l|Q|o"),
        ),
    ),
)
"""In the order in which they apply: later rules see what earlier ones made."""
