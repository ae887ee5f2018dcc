"""Recall and precision of the domain's terms.

A reference term is recognised if the alignment has all its words at consecutive equal steps. A hypothesis term is correct
by the same rule. Of overlapping terms the longest counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary, Term
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable, tabulate_rates
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, Resample, to_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.evaluation.scoring.alignment import AlignedWord

MAX_WORST_TERMS: Final = 15


@dataclass(frozen=True)
class TermCounts:
    """The terms of one model; the arrays have the shape [utterances]."""

    reference_count: NDArray[np.int64]
    """Occurrences of terms in the reference."""
    recalled: NDArray[np.int64]
    """Recognised occurrences."""
    hypothesis_count: NDArray[np.int64]
    """Occurrences in the hypothesis."""
    correct_count: NDArray[np.int64]
    """Occurrences that are in the reference too."""
    reference_count_of: Mapping[Term, int]
    recalled_count_of: Mapping[Term, int]
    inserted_count_of: Mapping[Term, int]
    """Incorrect occurrences in hypotheses."""


class TermScore(EvaluationRecord):
    """One term in the hypotheses of one model."""

    term: str
    reference_count: int
    recalled: int
    inserted: int
    """Incorrect occurrences in hypotheses."""


class ModelVocabularyScore(EvaluationRecord):
    """All terms in the hypotheses of one model."""

    model: str
    recalled: int
    hypothesis_count: int
    correct_count: int
    recall: Interval | None
    """Share of the reference terms that are recognised; None without terms."""
    precision: Interval | None
    """Share of the hypothesis terms that are correct; None without terms."""
    worst: tuple[TermScore, ...]
    """Terms with the most errors, the worst first."""


class VocabularyScore(EvaluationRecord):
    """The domain vocabulary in the hypotheses of every model."""

    terms: int
    """Terms in the vocabulary."""
    reference_terms: int
    """Distinct terms in the references."""
    reference_count: int
    """Occurrences in the references."""
    models: tuple[ModelVocabularyScore, ...]


def count_terms(vocabulary: DomainVocabulary, alignments: Sequence[Sequence[AlignedWord]]) -> TermCounts:
    """Count the terms in the references and in one model's hypotheses.

    Args:
        vocabulary: The terms.
        alignments: Of each normalised reference with its hypothesis (`scoring.alignment.align_words`).
    """
    rows = np.zeros((4, len(alignments)), dtype=np.int64)
    spoken, recalled, inserted = Counter[Term](), Counter[Term](), Counter[Term]()
    for row, steps in enumerate(alignments):
        for term, hit in _match_terms(vocabulary, steps, "reference"):
            rows[:2, row] += (1, hit)
            spoken[term] += 1
            recalled[term] += hit
        for term, hit in _match_terms(vocabulary, steps, "hypothesis"):
            rows[2:, row] += (1, hit)
            inserted[term] += not hit
    return TermCounts(rows[0], rows[1], rows[2], rows[3], spoken, recalled, inserted)


def score_vocabulary(
    vocabulary: DomainVocabulary,
    names: Sequence[str],
    counts: Sequence[TermCounts],
    draws: Draws,
) -> tuple[VocabularyScore, Resample]:
    """Return recall and precision of every model with intervals, and the draws of the recall.

    Args:
        vocabulary: The terms.
        names: The models.
        counts: Of each model, on the same utterances.
        draws: Of the same utterances.

    Raises:
        EvaluationError: There is no model.
    """
    if not counts:
        raise EvaluationError("no model to score the vocabulary of; pass the counts of at least one model")
    recall, *precision = draws.resample(
        [
            Counts(counts[0].reference_count, np.column_stack([each.recalled for each in counts])),
            *(Counts(each.hypothesis_count, each.correct_count[:, None]) for each in counts),
        ]
    )
    score = VocabularyScore(
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
    )
    return score, recall


def score_vocabulary_of_models(inputs: MetricInputs) -> tuple[VocabularyScore, Resample] | None:
    """Return the score of every model on the test set; None without a vocabulary."""
    vocabulary = inputs.measurements.vocabulary
    if vocabulary is None:
        return None
    counts = [count_terms(vocabulary, each) for each in inputs.test.alignments]
    return score_vocabulary(vocabulary, [each.name for each in inputs.models], counts, inputs.test.draws)


def _measure_recall(inputs: MetricInputs) -> MetricTable:
    found = inputs.compute_once(score_vocabulary_of_models)
    return MetricTable([None] * len(inputs.models)) if found is None else tabulate_rates(found[1], inputs.pairs)


TERM_RECALL = Metric(
    "term_recall",
    "domain word recall",
    "share",
    _measure_recall,
    is_higher_better=True,
    help="Of the words of the subject that were spoken, the share that it writes correctly.",
)


def _match_terms(vocabulary: DomainVocabulary, steps: Sequence[AlignedWord], side: str) -> Iterator[tuple[Term, bool]]:
    """Yield each term on one side of an alignment, and whether the other side has it at the same place."""
    places = [at for at, step in enumerate(steps) if getattr(step, side) is not None]
    words = [getattr(steps[at], side) for at in places]
    for first, term in vocabulary.find_occurrences(words):
        start, end = places[first], places[first + len(term) - 1] + 1
        yield term, end - start == len(term) and all(step.operation == "equal" for step in steps[start:end])


def _rank_worst_terms(counts: TermCounts) -> tuple[TermScore, ...]:
    scores = [
        TermScore(
            term=" ".join(term),
            reference_count=counts.reference_count_of.get(term, 0),
            recalled=counts.recalled_count_of.get(term, 0),
            inserted=counts.inserted_count_of.get(term, 0),
        )
        for term in sorted({*counts.reference_count_of, *counts.inserted_count_of})
    ]
    errors = {each.term: each.reference_count - each.recalled + each.inserted for each in scores}
    worst = sorted(scores, key=lambda each: -errors[each.term])
    return tuple(each for each in worst[:MAX_WORST_TERMS] if errors[each.term])
