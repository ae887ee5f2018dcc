"""The words a classroom needs: how many of them a model hears, and how many of those it writes were said.

Terms come from a list that people keep (`configs/vocabulary/`) and from the corpus itself: words frequent in training
and rare in general Spanish by `wordfreq` (R. Speer, 2022), whose Zipf scale is log10 of occurrences per billion words:
3 is once in a million. A term may hold several words. Both sides are normalised by
`normalise.normalise_spanish`, so case, punctuation and the way a number is written do not count.

A term that was said counts as heard where all its words stand at their aligned places with nothing between them; a
term in a hypothesis is right where the same holds the other way round. Of overlapping terms the longest counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import EvaluationError, SettingsError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, to_interval
from habla_ml.lake import compute_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.evaluation.scoring.alignment import AlignedWord

Term = tuple[str, ...]
"""The words of a term, normalised."""

MAX_WORST_TERMS: Final = 15
_MIN_TERM_LETTERS: Final = 4


@dataclass(frozen=True)
class CorpusTermLimits:
    """Which words of the corpus are terms though nobody listed them."""

    fewest: int = 5
    """Occurrences in training below which a word is no term."""
    zipf_below: float = 4.0
    """Zipf frequency in general Spanish from which a word is no term: 4 is ten in a million."""
    most: int = 300
    """The most frequent are taken."""


@dataclass(frozen=True)
class DomainVocabulary:
    """Terms by their first word, longest first."""

    by_first_word: Mapping[str, tuple[Term, ...]]

    @classmethod
    def of(cls, terms: Iterable[Term]) -> DomainVocabulary:
        """Index the terms; the order and repeats do not matter."""
        index: dict[str, list[Term]] = {}
        for term in sorted(set(terms), key=lambda each: (-len(each), each)):
            index.setdefault(term[0], []).append(term)
        return cls({word: tuple(found) for word, found in index.items()})

    @property
    def digest(self) -> str:
        """sha256 of the terms: figures of another vocabulary are other figures."""
        return compute_digest(sorted(" ".join(term) for terms in self.by_first_word.values() for term in terms))

    def __len__(self) -> int:
        return sum(len(each) for each in self.by_first_word.values())

    def find_occurrences(self, words: Sequence[str]) -> Iterator[tuple[int, Term]]:
        """Where terms stand in a normalised text: first word and term, none overlapping another."""
        at = 0
        while at < len(words):
            found = next(
                (
                    term
                    for term in self.by_first_word.get(words[at], ())
                    if tuple(words[at : at + len(term)]) == term
                ),
                None,
            )
            if found is not None:
                yield at, found
            at += len(found) if found else 1


@dataclass(frozen=True)
class TermCounts:
    """One model on every utterance; the arrays have the shape [utterances]."""

    reference_count: NDArray[np.int64]
    """Occurrences of terms in the reference."""
    recalled: NDArray[np.int64]
    """Those of them that were heard."""
    hypothesis_count: NDArray[np.int64]
    """Occurrences in the hypothesis."""
    correct_count: NDArray[np.int64]
    """Those of them that were said."""
    reference_count_of: Mapping[Term, int]
    recalled_count_of: Mapping[Term, int]
    inserted_count_of: Mapping[Term, int]
    """Term → occurrences in hypotheses where it was not said."""


class TermScore(EvaluationRecord):
    """One term, as one model hears it."""

    term: str
    reference_count: int
    recalled: int
    inserted: int
    """Occurrences in hypotheses where it was not said."""


class ModelVocabularyScore(EvaluationRecord):
    """One model on the terms."""

    model: str
    recalled: int
    hypothesis_count: int
    correct_count: int
    recall: Interval | None
    """Share of the terms said that were heard; None where none was said."""
    precision: Interval | None
    """Share of the terms in hypotheses that were said; None where none was written."""
    worst: tuple[TermScore, ...]
    """Terms most often missed or invented, the worst first."""


class VocabularyScore(EvaluationRecord):
    """Every model on the vocabulary of the domain."""

    terms: int
    """In the vocabulary."""
    reference_terms: int
    """Different terms in the references."""
    reference_count: int
    """Occurrences in the references."""
    models: tuple[ModelVocabularyScore, ...]
    recall_change: Interval | None
    """Recall of the candidate minus that of the base, in points: positive is better."""


def read_terms(path: Path) -> tuple[Term, ...]:
    """The terms of a list: one a line, `#` starts a comment; in the order of the file, each once.

    Raises:
        SettingsError: The file cannot be read, or a line holds no word.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"vocabulary {path} cannot be read as UTF-8 text: {error}") from error
    terms: dict[Term, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        term = tuple(normalise_spanish(text).split())
        if not term:
            raise SettingsError(f"vocabulary {path}, line {number}: {text!r} holds no word; write one term a line")
        terms[term] = None
    return tuple(terms)


def find_corpus_terms(sentences: Iterable[str], wanted: CorpusTermLimits = CorpusTermLimits()) -> tuple[Term, ...]:
    """Words frequent in `sentences` (of training only) and rare in general Spanish, the most frequent first.

    Names count: a recogniser that cannot write a student's name is no use in class. Numbers do not: texts mostly write
    them in digits, so that their words look rare.
    """
    from wordfreq import zipf_frequency

    numbers = {
        word for number in (*range(100), *range(100, 1000, 100)) for word in normalise_spanish(str(number)).split()
    }
    counted = Counter(word for sentence in sentences for word in normalise_spanish(sentence).split())
    found = [
        word
        for word, times in sorted(counted.items(), key=lambda each: (-each[1], each[0]))
        if times >= wanted.fewest
        and len(word) >= _MIN_TERM_LETTERS
        and word.isalpha()
        and word not in numbers
        and zipf_frequency(word, "es") < wanted.zipf_below
    ]
    return tuple((word,) for word in found[: wanted.most])


def count_terms(vocabulary: DomainVocabulary, alignments: Sequence[Sequence[AlignedWord]]) -> TermCounts:
    """What one model made of the terms.

    Args:
        vocabulary: The terms.
        alignments: Of each normalised reference with what the model heard (`scoring.align_words`).
    """
    rows = np.zeros((4, len(alignments)), dtype=np.int64)
    said, recalled, invented = Counter[Term](), Counter[Term](), Counter[Term]()
    for row, steps in enumerate(alignments):
        for term, hit in _match_terms(vocabulary, steps, "reference"):
            rows[:2, row] += (1, hit)
            said[term] += 1
            recalled[term] += hit
        for term, hit in _match_terms(vocabulary, steps, "hypothesis"):
            rows[2:, row] += (1, hit)
            invented[term] += not hit
    return TermCounts(rows[0], rows[1], rows[2], rows[3], said, recalled, invented)


def score_vocabulary(
    vocabulary: DomainVocabulary,
    names: Sequence[str],
    counts: Sequence[TermCounts],
    draws: Draws,
    base: int | None = None,
    candidate: int | None = None,
) -> VocabularyScore:
    """Recall and precision of every model with intervals, on the same draws.

    Args:
        vocabulary: The terms.
        names: The models.
        counts: What each model made of the same utterances.
        draws: Of the same utterances.
        base: Place of the base among the models.
        candidate: Place of the candidate.

    Raises:
        EvaluationError: There is no model.
    """
    if not counts:
        raise EvaluationError("there is no model to score the vocabulary of; pass the counts of at least one")
    recall, *precision = draws.resample(
        [
            Counts(counts[0].reference_count, np.column_stack([each.recalled for each in counts])),
            *(Counts(each.hypothesis_count, each.correct_count[:, None]) for each in counts),
        ]
    )
    change = None
    if base is not None and candidate is not None:
        change = to_interval(recall.point_change(base, candidate))
    return VocabularyScore(
        terms=len(vocabulary),
        reference_terms=len(counts[0].reference_count_of),
        reference_count=recall.words,
        models=tuple(
            ModelVocabularyScore(
                model=name,
                recalled=int(each.recalled.sum()),
                hypothesis_count=int(each.hypothesis_count.sum()),
                correct_count=int(each.correct_count.sum()),
                recall=to_interval(recall.rate(at)),
                precision=to_interval(precision[at].rate(0)),
                worst=_rank_worst_terms(each),
            )
            for at, (name, each) in enumerate(zip(names, counts, strict=True))
        ),
        recall_change=change,
    )


def _match_terms(
    vocabulary: DomainVocabulary, steps: Sequence[AlignedWord], side: str
) -> Iterator[tuple[Term, bool]]:
    """Each occurrence of a term on one side of an alignment, and whether it stands on the other side too."""
    places = [at for at, step in enumerate(steps) if getattr(step, side) is not None]
    words = [getattr(steps[at], side) for at in places]
    for first, term in vocabulary.find_occurrences(words):
        start, last = places[first], places[first + len(term) - 1]
        together = last - start == len(term) - 1
        yield term, together and all(steps[at].operation == "equal" for at in range(start, last + 1))


def _rank_worst_terms(counts: TermCounts) -> tuple[TermScore, ...]:
    def wrong(term: Term) -> int:
        return (
            counts.reference_count_of.get(term, 0)
            - counts.recalled_count_of.get(term, 0)
            + counts.inserted_count_of.get(term, 0)
        )

    terms = sorted({*counts.reference_count_of, *counts.inserted_count_of}, key=lambda term: (-wrong(term), term))
    return tuple(
        TermScore(
            term=" ".join(term),
            reference_count=counts.reference_count_of.get(term, 0),
            recalled=counts.recalled_count_of.get(term, 0),
            inserted=counts.inserted_count_of.get(term, 0),
        )
        for term in terms[:MAX_WORST_TERMS]
        if wrong(term)
    )
