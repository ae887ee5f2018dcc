"""The most frequent confusions of words, and of sounds within words.

Word confusions are taken from the word alignment of normalised texts. Sound confusions are taken from substituted words
that sound similar: both are split into the sounds of Castilian (`list_phonemes`), which are aligned by edit distance.
Spanish letters identify the sounds, so `ll → y` or `s → nothing` needs no phonetic alphabet. Two spellings of one sound
(`b`, `v`) are no confusion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.dialect_features import WITHOUT_ACCENTS
from habla_ml.evaluation.scoring.alignment import check_equal_lengths

if TYPE_CHECKING:
    from habla_ml.evaluation.scoring.alignment import AlignedWord

MAX_CONFUSIONS: Final = 30
"""Of each kind and model."""
NO_TOKEN: Final = ""
"""The missing side of a deletion or an insertion."""

_MAX_CHANGED_SHARE: Final = 0.4
"""Share of a word's sounds that may differ, at least one sound. With more, it is another word."""

Pair = tuple[str, str]
"""Reference, hypothesis."""


class Confusion(EvaluationRecord):
    """One word or sound that a model replaces by another."""

    reference_token: str
    """Empty for an insertion."""
    hypothesis_token: str
    """Empty for a deletion."""
    count: int
    base_count: int | None
    """How often the base makes this confusion on the same speech; None for the base itself, or without a base."""
    segment_id: str
    """The first segment with it."""
    words: tuple[str, str] | None = None
    """For a sound: the first pair of words with it."""


class ModelConfusions(EvaluationRecord):
    """The confusions of one model, the most frequent first."""

    model: str
    words: tuple[Confusion, ...]
    phonemes: tuple[Confusion, ...]
    reduced: tuple[Confusion, ...]
    """Word confusions that this model makes less often than the base, with this model's count. Empty for the base."""


@dataclass(frozen=True)
class ConfusionCounts:
    """All confusions of one model."""

    words: Counter[Pair] = field(default_factory=Counter)
    phonemes: Counter[Pair] = field(default_factory=Counter)
    example_segment_of: dict[Pair, str] = field(default_factory=dict)
    """Pair of words → the first segment with it."""
    example_words_of: dict[Pair, Pair] = field(default_factory=dict)
    """Pair of sounds → the first pair of words with it."""


def count_confusions(segment_ids: Sequence[str], alignments: Sequence[Sequence[AlignedWord]]) -> ConfusionCounts:
    """Count the confusions of one model, from the word alignment of each normalised segment.

    Raises:
        EvaluationError: There is not one alignment for each segment.
    """
    check_equal_lengths(segments=segment_ids, alignments=alignments)
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
    """Return the most frequent confusions of every model, and how often the base makes them.

    Args:
        names: The models.
        counts: The confusions of each model on the same utterances.
        base: Index of the base model, if any.
    """
    base_counts = None if base is None else counts[base]
    return tuple(
        _tabulate_model(name, each, None if at == base else base_counts)
        for at, (name, each) in enumerate(zip(names, counts, strict=True))
    )


_PHONEME: Final = re.compile(
    r"(?P<ch>ch)|(?P<ll>ll)|(?P<rr>rr|^r|(?<=[nls])r)|(?P<k>qu(?=[ei])|k|q|c(?![eih]))|(?P<z>z|c(?=[ei]))"
    r"|(?P<g>gu(?=[ei])|g(?![ei]))|(?P<j>j|g(?=[ei]))|(?P<ks>x)|(?P<b>[bv])|(?P<y>y(?=[aeiou]))|(?P<i>y)"
    r"|(?P<u>[üw])|(?P<silent>h)|(?P<other>.)"
)


def list_phonemes(word: str) -> tuple[str, ...]:
    """Return the sounds of a normalised word as Spanish letters: `llueve` gives ll u e b e.

    `z` is the first sound of `cena`, `j` that of `gente`, `k` that of `que`. Accents and h are dropped; x gives k s.
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


def find_confused_phonemes(reference: str, hypothesis: str) -> list[Pair]:
    """Return the sounds that differ between two similar words, with `NO_TOKEN` for a missing sound.

    The result is empty if more than one sound and more than two in five of the longer word's sounds differ.
    """
    from rapidfuzz.distance import Levenshtein

    left, right = list_phonemes(reference), list_phonemes(hypothesis)
    edits = Levenshtein.editops(left, right)
    longest = max(len(left), len(right))
    if len(edits) > max(1, _MAX_CHANGED_SHARE * longest) or len(edits) == longest:
        return []
    return [
        (
            left[edit.src_pos] if edit.tag != "insert" else NO_TOKEN,
            right[edit.dest_pos] if edit.tag != "delete" else NO_TOKEN,
        )
        for edit in edits
    ]


def _tabulate_model(name: str, counts: ConfusionCounts, base: ConfusionCounts | None) -> ModelConfusions:
    base_words, base_phonemes = (base.words, base.phonemes) if base else (None, None)
    segment_of, words_of = counts.example_segment_of, counts.example_words_of
    return ModelConfusions(
        model=name,
        words=tuple(_make_confusion(pair, counts.words, base_words, segment_of[pair]) for pair in _rank(counts.words)),
        phonemes=tuple(
            _make_confusion(pair, counts.phonemes, base_phonemes, segment_of[words_of[pair]], words_of[pair])
            for pair in _rank(counts.phonemes)
        ),
        reduced=tuple(
            _make_confusion(pair, counts.words, base.words, base.example_segment_of[pair])
            for pair in _rank(base.words - counts.words)
        )
        if base
        else (),
    )


def _rank(counter: Counter[Pair]) -> list[Pair]:
    return sorted(counter, key=lambda pair: (-counter[pair], pair))[:MAX_CONFUSIONS]


def _make_confusion(
    pair: Pair, counter: Counter[Pair], base: Counter[Pair] | None, segment_id: str, words: Pair | None = None
) -> Confusion:
    return Confusion(
        reference_token=pair[0],
        hypothesis_token=pair[1],
        count=counter[pair],
        base_count=None if base is None else base[pair],
        segment_id=segment_id,
        words=words,
    )
