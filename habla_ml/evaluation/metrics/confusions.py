"""What models hear instead of what was said: the most frequent confusions of words, and of sounds within words.

Word confusions come from the word alignment of normalised texts. Sound confusions come from substituted words whose
sounds are close enough to be the same word misheard: both are spelled out in the sounds of Castilian (`list_phonemes`) and
aligned by edit distance. The letters of Spanish name its sounds, so a table of `ll → y` or `s → nothing` needs no
phonetic alphabet; what a recogniser writes is spelling, and two spellings of one sound (`b`, `v`) are no confusion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.dialect_features import WITHOUT_ACCENTS

if TYPE_CHECKING:
    from habla_ml.evaluation.scoring.alignment import AlignedWord

MAX_CONFUSIONS: Final = 30
"""Of each sort and model."""
NO_TOKEN: Final = ""
"""Stands where a word or sound was deleted, or one was inserted."""

_MAX_CHANGED_SHARE: Final = 0.4
"""Share of a word's sounds that may differ, or one; beyond it another word was heard, and its sounds say nothing."""

Pair = tuple[str, str]
"""What was said and what was heard."""


class Confusion(EvaluationRecord):
    """One thing heard as another by one model."""

    reference_token: str
    """A word or sound; empty where nothing was said."""
    hypothesis_token: str
    """Empty where nothing was heard."""
    count: int
    base_count: int | None
    """How often the base makes the same confusion on the same speech; None for the base itself, or without one."""
    segment_id: str
    """Id of the first segment that shows it."""
    words: tuple[str, str] | None = None
    """For a sound: the first word said and heard so."""


class ModelConfusions(EvaluationRecord):
    """The confusions of one model, the most frequent first."""

    model: str
    words: tuple[Confusion, ...]
    phonemes: tuple[Confusion, ...]
    reduced: tuple[Confusion, ...]
    """Words that the base confuses most and this model less; count is this model's. Empty for the base."""


@dataclass(frozen=True)
class ConfusionCounts:
    """Everything that one model confuses."""

    words: Counter[Pair] = field(default_factory=Counter)
    phonemes: Counter[Pair] = field(default_factory=Counter)
    example_segment_of: dict[Pair, str] = field(default_factory=dict)
    """Pair of words → the first segment that shows it."""
    example_words_of: dict[Pair, Pair] = field(default_factory=dict)
    """Pair of sounds → the first pair of words that shows it."""


def count_confusions(segment_ids: Sequence[str], alignments: Sequence[Sequence[AlignedWord]]) -> ConfusionCounts:
    """Count what one model confuses.

    Args:
        segment_ids: Of each utterance.
        alignments: Of each normalised reference with what the model heard (`scoring.align_words`).

    Raises:
        EvaluationError: The two describe different numbers of utterances.
    """
    if len(segment_ids) != len(alignments):
        raise EvaluationError(
            f"{len(segment_ids)} segments and {len(alignments)} alignments; pass one alignment for each segment"
        )
    counts = ConfusionCounts()
    for segment_id, steps in zip(segment_ids, alignments, strict=True):
        for step in steps:
            if step.operation != "equal":
                pair = (step.reference or NO_TOKEN, step.hypothesis or NO_TOKEN)
                counts.words[pair] += 1
                counts.example_segment_of.setdefault(pair, segment_id)
    for pair, times in counts.words.items():
        if NO_TOKEN not in pair:
            for sounds in find_confused_phonemes(*pair):
                counts.phonemes[sounds] += times
                counts.example_words_of.setdefault(sounds, pair)
    return counts


def tabulate_confusions(
    names: Sequence[str], counts: Sequence[ConfusionCounts], base: int | None = None
) -> tuple[ModelConfusions, ...]:
    """The most frequent confusions of every model, beside how often the base makes them.

    Args:
        names: The models.
        counts: What each confuses on the same utterances.
        base: Place of the base among the models; None where there is none.
    """
    against = counts[base] if base is not None else None
    tables = []
    for at, (name, each) in enumerate(zip(names, counts, strict=True)):
        before = None if at == base else against
        ranked_words, ranked_sounds = _rank(each.words), _rank(each.phonemes)
        tables.append(
            ModelConfusions(
                model=name,
                words=tuple(
                    _make_word_confusion(pair, each, before, each.example_segment_of)
                    for pair in ranked_words[:MAX_CONFUSIONS]
                ),
                phonemes=tuple(_make_phoneme_confusion(pair, each, before) for pair in ranked_sounds[:MAX_CONFUSIONS]),
                reduced=() if before is None else _find_reduced(each, before),
            )
        )
    return tuple(tables)


_PHONEME: Final = re.compile(
    r"(?P<ch>ch)|(?P<ll>ll)|(?P<rr>rr|^r|(?<=[nls])r)|(?P<k>qu(?=[ei])|k|q|c(?![eih]))|(?P<z>z|c(?=[ei]))"
    r"|(?P<g>gu(?=[ei])|g(?![ei]))|(?P<j>j|g(?=[ei]))|(?P<ks>x)|(?P<b>[bv])|(?P<y>y(?=[aeiou]))|(?P<i>y)"
    r"|(?P<u>[üw])|(?P<silent>h)|(?P<other>.)"
)


def list_phonemes(word: str) -> tuple[str, ...]:
    """The sounds of a normalised word, each named by the letters that write it: `llueve` is ll u e b e.

    `z` stands for the sound of `cena`, `j` for that of `gente`, `k` for that of `que`; accents are dropped, h is
    silent, x is k s.
    """
    phonemes: list[str] = []
    for match in _PHONEME.finditer(word.translate(WITHOUT_ACCENTS)):
        kind = match.lastgroup
        if kind == "ks":
            phonemes += ["k", "s"]
        elif kind == "other":
            phonemes.append(match[0])
        elif kind not in (None, "silent"):
            phonemes.append(str(kind))
    return tuple(phonemes)


def find_confused_phonemes(said: str, heard: str) -> list[Pair]:
    """The sounds that differ between two words, `NO_TOKEN` on the side that lacks one; [] where the words do.

    Words differ where more than two in five of the longer one's sounds do, and more than one.
    """
    from rapidfuzz.distance import Levenshtein

    one, two = list_phonemes(said), list_phonemes(heard)
    edits = Levenshtein.editops(one, two)
    longest = max(len(one), len(two))
    if len(edits) > max(1, _MAX_CHANGED_SHARE * longest) or len(edits) == longest:
        return []
    return [
        (
            one[edit.src_pos] if edit.tag != "insert" else NO_TOKEN,
            two[edit.dest_pos] if edit.tag != "delete" else NO_TOKEN,
        )
        for edit in edits
    ]


def _rank(counted: Counter[Pair]) -> list[Pair]:
    return sorted(counted, key=lambda pair: (-counted[pair], pair))


def _make_word_confusion(
    pair: Pair, counts: ConfusionCounts, base: ConfusionCounts | None, example_segment_of: dict[Pair, str]
) -> Confusion:
    return Confusion(
        reference_token=pair[0],
        hypothesis_token=pair[1],
        count=counts.words[pair],
        base_count=None if base is None else base.words[pair],
        segment_id=example_segment_of[pair],
    )


def _make_phoneme_confusion(pair: Pair, counts: ConfusionCounts, base: ConfusionCounts | None) -> Confusion:
    words = counts.example_words_of[pair]
    return Confusion(
        reference_token=pair[0],
        hypothesis_token=pair[1],
        count=counts.phonemes[pair],
        base_count=None if base is None else base.phonemes[pair],
        segment_id=counts.example_segment_of[words],
        words=words,
    )


def _find_reduced(counts: ConfusionCounts, base: ConfusionCounts) -> tuple[Confusion, ...]:
    less = [pair for pair in base.words if counts.words[pair] < base.words[pair]]
    less.sort(key=lambda pair: (counts.words[pair] - base.words[pair], pair))
    return tuple(_make_word_confusion(pair, counts, base, base.example_segment_of) for pair in less[:MAX_CONFUSIONS])
