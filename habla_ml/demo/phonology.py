"""Andalusian speech as rules on Castilian phonemes: the spelling stays, the pronunciation changes.

Each rule has the name of the feature in Spanish dialectology (Narbona, Cano & Morillo, *El español hablado en
Andalucía*, 1998) and carries its own examples, which the tests check. A speaker applies a rule at each place with an
individual probability.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from habla_ml.demo.speech_synthesis import Clause, Word
from habla_ml.errors import InputError

RuleTrigger = Callable[[], bool]
"""Called at every place where a rule could apply; true where it applies."""

_VOWELS = frozenset("aeiouAEIOU")


@dataclass(frozen=True)
class PhonologyExample:
    """Result of a rule that always applies, in the notation of `speech_synthesis.write_clause`."""

    spelling: str
    castilian: str
    andalusian: str


@dataclass(frozen=True)
class PhonologyRule:
    """One feature of Andalusian speech.

    Attributes:
        name: Name in dialectology.
        change: Rewrites a clause; calls its trigger at every place.
        examples: Test cases.
    """

    name: str
    change: Callable[[Clause, RuleTrigger], Clause]
    examples: tuple[PhonologyExample, ...]


@dataclass(frozen=True)
class Dialect:
    """Pairs of rule name and the probability (0 to 1) that a speaker applies it."""

    probabilities: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        known = {rule.name for rule in PHONOLOGY_RULES}
        for name, probability in self.probabilities:
            if name not in known or not 0.0 <= probability <= 1.0:
                raise InputError(
                    f"Dialect rule {name!r} with probability {probability}: "
                    f"use a rule of {sorted(known)} and a number from 0 to 1."
                )


def draw_andalusian_dialect(strength: float, rng: np.random.Generator) -> Dialect:
    """Draw a dialect: the probability of each rule is `strength` (0 to 1) ± 0.15."""
    jitter = rng.uniform(-0.15, 0.15, size=len(PHONOLOGY_RULES))
    return Dialect(
        tuple(
            (rule.name, float(np.clip(strength + by, 0.0, 1.0)))
            for rule, by in zip(PHONOLOGY_RULES, jitter, strict=True)
        )
    )


def apply_dialect(clauses: tuple[Clause, ...], dialect: Dialect, rng: np.random.Generator) -> tuple[Clause, ...]:
    """Apply the rules of a dialect to Castilian phonemes, at random."""
    probability = dict(dialect.probabilities)
    spoken = []
    for clause in clauses:
        for rule in PHONOLOGY_RULES:
            chance = probability.get(rule.name, 0.0)
            if chance > 0.0:
                clause = rule.change(clause, lambda chance=chance: bool(rng.random() < chance))  # type: ignore[misc]
        spoken.append(clause)
    return tuple(spoken)


def _is_vowel(phoneme: str) -> bool:
    return phoneme.lstrip("',")[:1] in _VOWELS


def _is_stressed(phoneme: str) -> bool:
    return phoneme.startswith("'")


def _apply_to_words(change: Callable[[Word, RuleTrigger], Word]) -> Callable[[Clause, RuleTrigger], Clause]:
    return lambda clause, chance: tuple(change(word, chance) for word in clause)


def _replace_phoneme(old: str, new: str) -> Callable[[Clause, RuleTrigger], Clause]:
    def change(word: Word, chance: RuleTrigger) -> Word:
        return tuple(new if phoneme == old and chance() else phoneme for phoneme in word)

    return _apply_to_words(change)


def _para_to_pa(word: Word, chance: RuleTrigger) -> Word:
    letters = tuple(phoneme.lstrip("',") for phoneme in word)
    return ("p", word[-1]) if letters == ("p", "a", "**", "a") and chance() else word


def _drop_participle_d(word: Word, chance: RuleTrigger) -> Word:
    for size in (3, 4):
        vowel, *rest = word[-size:]
        if len(word) > size and vowel == "'a" and rest[:2] in (["D", "o"], ["D", "a"]) and rest[2:] in ([], ["s"]):
            if not chance():
                return word
            ending = (vowel, *rest[1:]) if rest[1] == "o" else (vowel, *rest[2:])
            return word[:-size] + ending
    return word


def _drop_weak_d(word: Word, chance: RuleTrigger) -> Word:
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


def _simplify_cluster(word: Word, chance: RuleTrigger) -> Word:
    kept = [
        phoneme
        for place, phoneme in enumerate(word)
        if not (phoneme == "k" and word[place + 1 : place + 2] in (("s",), ("t",), ("T",)) and chance())
    ]
    return tuple(kept)


def _aspirate_inner_s(word: Word, chance: RuleTrigger) -> Word:
    return tuple(
        "h" if phoneme == "s" and _is_before_consonant(word, place) and chance() else phoneme
        for place, phoneme in enumerate(word)
    )


def _is_before_consonant(word: Word, place: int) -> bool:
    return place + 1 < len(word) and not _is_vowel(word[place + 1]) and word[place + 1] not in ("j", "w")


def _weaken_final_s(clause: Clause, chance: RuleTrigger) -> Clause:
    words = []
    for place, word in enumerate(clause):
        if len(word) > 1 and word[-1] in ("s", "T") and chance():
            following = clause[place + 1 : place + 2]
            # [h] links to a following vowel ("loh amigos"); before a consonant or a pause it is lost.
            word = (*word[:-1], "h") if following and _is_vowel(following[0][0]) else word[:-1]
        words.append(word)
    return tuple(words)


def _drop_final_consonant(word: Word, chance: RuleTrigger) -> Word:
    weak = len(word) > 2 and word[-1] in ("d", "D", "r", "**", "l", "x") and _is_vowel(word[-2])
    return word[:-1] if weak and chance() else word


def _l_to_r(word: Word, chance: RuleTrigger) -> Word:
    return tuple(
        "r" if phoneme == "l" and place > 0 and _is_before_consonant(word, place) and chance() else phoneme
        for place, phoneme in enumerate(word)
    )


def _merge_vowels(clause: Clause, chance: RuleTrigger) -> Clause:
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


PHONOLOGY_RULES: tuple[PhonologyRule, ...] = (
    PhonologyRule(
        "seseo", _replace_phoneme("T", "s"), (PhonologyExample("gracias", "Q|**|'a|T|j|a|s", "Q|**|'a|s|j|a|s"),)
    ),
    PhonologyRule("yeísmo", _replace_phoneme("l^", "J^"), (PhonologyExample("llave", "l^|'a|B|e", "J^|'a|B|e"),)),
    PhonologyRule(
        "apócope de para", _apply_to_words(_para_to_pa), (PhonologyExample("para la", "p|,a|**|a l|a", "p|a l|a"),)
    ),
    PhonologyRule(
        "participio en -ao",
        _apply_to_words(_drop_participle_d),
        (
            PhonologyExample("pasado", "p|a|s|'a|D|o", "p|a|s|'a|o"),
            PhonologyExample("hablados", "a|B|l|'a|D|o|s", "a|B|l|'a|o|s"),
            PhonologyExample("pasada", "p|a|s|'a|D|a", "p|a|s|'a"),
        ),
    ),
    PhonologyRule(
        "caída de la d intervocálica",
        _apply_to_words(_drop_weak_d),
        (PhonologyExample("todo", "t|'o|D|o", "t|'o|o"),),
    ),
    PhonologyRule(
        "reducción de grupos cultos",
        _apply_to_words(_simplify_cluster),
        (
            PhonologyExample("examen", "e|k|s|'a|m|e|n", "e|s|'a|m|e|n"),
            PhonologyExample("doctor", "d|o|k|t|'o|r", "d|o|t|'o|r"),
        ),
    ),
    PhonologyRule(
        "aspiración de la s ante consonante",
        _apply_to_words(_aspirate_inner_s),
        (
            PhonologyExample("escuela", "e|s|k|w|'e|l|a", "e|h|k|w|'e|l|a"),
            PhonologyExample("mesa", "m|'e|s|a", "m|'e|s|a"),
        ),
    ),
    PhonologyRule(
        "aspiración o pérdida de la s final",
        _weaken_final_s,
        (
            PhonologyExample("los niños", "l|o|s n|'i|n^|o|s", "l|o n|'i|n^|o"),
            PhonologyExample("los amigos", "l|o|s a|m|'i|Q|o|s", "l|o|h a|m|'i|Q|o"),
        ),
    ),
    PhonologyRule(
        "aspiración de la jota",
        _replace_phoneme("x", "h"),
        (PhonologyExample("mejor", "m|e|x|'o|r", "m|e|h|'o|r"),),
    ),
    PhonologyRule(
        "relajación de la che",
        _replace_phoneme("tS", "S"),
        (PhonologyExample("muchacho", "m|u|tS|'a|tS|o", "m|u|S|'a|S|o"),),
    ),
    PhonologyRule(
        "pérdida de la consonante final",
        _apply_to_words(_drop_final_consonant),
        (
            PhonologyExample("ciudad", "T|j|u|D|'a|d", "T|j|u|D|'a"),
            PhonologyExample("jugar", "x|u|Q|'a|r", "x|u|Q|'a"),
        ),
    ),
    PhonologyRule("rotacismo", _apply_to_words(_l_to_r), (PhonologyExample("alto", "'a|l|t|o", "'a|r|t|o"),)),
    PhonologyRule(
        "fusión de vocales entre palabras",
        _merge_vowels,
        (
            PhonologyExample("para ahora", "p|a|**|a a|'o|**|a", "p|a|**|a|'o|**|a"),
            PhonologyExample("sé algo", "s|'e a|l|Q|o", "s|'e a|l|Q|o"),
        ),
    ),
)
"""In order of application: a rule receives the result of those before it."""
