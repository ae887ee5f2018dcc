"""Punctuation and capitals, scored on the correctly recognised words.

The two texts are aligned by their words, without case and punctuation. For each pair of equal words, the opening marks
before it (¿ ¡), the closing marks after it (. , ; : ? ! …) and the initial capital are compared. Marks at other words do
not count, because WER counts those words already. Numbers are compared as words (`3` equals `tres`), but a number of
several words equals only itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.alignment import check_equal_lengths, match_equal_words
from habla_ml.evaluation.scoring.normalisation import MARKER, normalise_spanish
from habla_ml.evaluation.scoring.statistics import (
    Counts,
    Draws,
    Estimate,
    Interval,
    Resample,
    compute_trials,
    to_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARKS: Final = (".", ",", ";", ":", "?", "!", "…", "¿", "¡")
CAPITAL: Final = "capital"
_OPENING: Final = frozenset("¿¡")
_CLOSING: Final = frozenset(MARKS) - _OPENING
_ROWS: Final = {mark: row for row, mark in enumerate((*MARKS, CAPITAL))}
_WORD: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")


@dataclass(frozen=True)
class PunctuationCounts:
    """The marks and capitals of one model on a set of utterances."""

    reference_words: int
    matched_words: int
    places: NDArray[np.int64]
    """Places with a mark in both texts, only in the hypothesis, and only in the reference.

    Shape [utterances, marks and capitals in the order of `MARKS`, 3].
    """


class MarkScore(EvaluationRecord):
    """The score of one mark, of all marks together (micro-average), or of capitals."""

    mark: str
    both: int
    only_hypothesis: int
    only_reference: int
    f1: Interval | None
    """None if neither text has the mark."""


class PunctuationScore(EvaluationRecord):
    """The punctuation of one model."""

    reference_words: int
    matched_words: int
    """Correctly recognised words, on which marks are scored."""
    marks: tuple[MarkScore, ...]
    punctuation: MarkScore
    """All marks together."""
    capitals: MarkScore


class _Word(NamedTuple):
    key: str
    """The normalised word, for the alignment."""
    marks: frozenset[str]
    """Marks around the word, and `CAPITAL` if it has an initial capital."""


def count_punctuation(references: Sequence[str], hypotheses: Sequence[str]) -> PunctuationCounts:
    """Count the marks and capitals of texts as written, without markers in brackets.

    Raises:
        EvaluationError: The lists differ in length.
    """
    check_equal_lengths(references=references, hypotheses=hypotheses)
    places = np.zeros((len(references), len(_ROWS), 3), dtype=np.int64)
    reference_words = matched_words = 0
    for utterance, texts in enumerate(zip(references, hypotheses, strict=True)):
        reference, hypothesis = map(_split_words, texts)
        matches = match_equal_words([word.key for word in reference], [word.key for word in hypothesis])
        reference_words += len(reference)
        matched_words += len(matches)
        for at, other in matches:
            expected, found = reference[at].marks, hypothesis[other].marks
            for mark in expected | found:
                column = (0 if mark in expected else 1) if mark in found else 2
                places[utterance, _ROWS[mark], column] += 1
    return PunctuationCounts(reference_words, matched_words, places)


def score_punctuation(sessions: Sequence[str], counts: PunctuationCounts, draws: int, seed: int) -> PunctuationScore:
    """Return the F1 of one model with 95 % intervals over sessions; `sessions` has the session of each utterance."""
    tables = {mark: counts.places[:, row] for mark, row in _ROWS.items()}
    tables["all marks"] = counts.places[:, : len(MARKS)].sum(axis=1)
    # F1 is one minus disagreements / (2 agreements + disagreements).
    wrong = {mark: table[:, 1] + table[:, 2] for mark, table in tables.items()}
    resamples = Draws.of(sessions, draws, seed).resample(
        [Counts(2 * table[:, 0] + wrong[mark], wrong[mark][:, None]) for mark, table in tables.items()]
    )
    scores = {
        mark: _make_mark_score(mark, table, resample)
        for (mark, table), resample in zip(tables.items(), resamples, strict=True)
    }
    return PunctuationScore(
        reference_words=counts.reference_words,
        matched_words=counts.matched_words,
        marks=tuple(scores[mark] for mark in MARKS),
        punctuation=scores["all marks"],
        capitals=scores[CAPITAL],
    )


def compare_f1(
    sessions: Sequence[str],
    tables: Sequence[NDArray[np.int64]],
    pairs: Sequence[tuple[int, int]],
    draws: int,
    seed: int,
) -> dict[tuple[int, int], Interval | None]:
    """Return the difference of F1 for each pair of models in points (× 100), on the same draws of sessions.

    Below 0 the second model is worse. None if a model has no F1.

    Args:
        sessions: The session of each utterance.
        tables: For each model, places in both texts, only in the hypothesis, and only in the reference; shape
            [utterances, 3].
        pairs: The models to compare, (before, after).
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    # Agreements and places differ between the models, so both are drawn as counts: two columns for each model.
    columns = [column for table in tables for column in (table[:, 0], table.sum(axis=1) + table[:, 0])]
    (resample,) = Draws.of(sessions, draws, seed).resample(
        [Counts(np.ones(len(sessions), np.int64), np.column_stack(columns))]
    )
    return {pair: to_interval(_compute_f1_points(resample, *pair)) for pair in pairs}


def _count_models(inputs: MetricInputs) -> list[PunctuationCounts]:
    sentences = [each.sentence for each in inputs.test.references]
    return [count_punctuation(sentences, model.texts) for model in inputs.test.models]


def score_punctuation_of_models(inputs: MetricInputs) -> list[PunctuationScore | None]:
    """Return the score of each model; None for an empty test set."""
    if not inputs.test.references:
        return [None] * len(inputs.models)
    settings = inputs.settings
    return [
        score_punctuation(inputs.test.sessions, each, settings.bootstrap_draws, settings.seed)
        for each in inputs.compute_once(_count_models)
    ]


def _measure(figure: Literal["punctuation", "capitals"], rows: slice) -> Callable[[MetricInputs], MetricTable]:
    def measure(inputs: MetricInputs) -> MetricTable:
        scores, settings = inputs.compute_once(score_punctuation_of_models), inputs.settings
        differences: Mapping[tuple[int, int], Interval | None] = {}
        if inputs.test.references:
            tables = [each.places[:, rows].sum(axis=1) for each in inputs.compute_once(_count_models)]
            differences = compare_f1(
                inputs.test.sessions, tables, inputs.pairs, settings.bootstrap_draws, settings.seed
            )
        return MetricTable([getattr(each, figure).f1 if each else None for each in scores], differences)

    return measure


PUNCTUATION_F1 = Metric(
    "punctuation_f1",
    "punctuation F1",
    "share",
    _measure("punctuation", slice(len(MARKS))),
    help="How well commas, full stops and other marks agree with the reference; 100 % is perfect.",
    is_higher_better=True,
)
CAPITALS_F1 = Metric(
    "capitals_f1",
    "capitals F1",
    "share",
    _measure("capitals", slice(len(MARKS), None)),
    is_higher_better=True,
    help="How well capital letters agree with the reference; 100 % is perfect.",
)


def _split_words(text: str) -> list[_Word]:
    """Return the words with the marks around them; a mark between two words belongs to the word that it opens or closes."""
    text = unicodedata.normalize("NFC", MARKER.sub(" ", text)).replace("...", "…")
    found = [(match, key) for match in _WORD.finditer(text) if (key := _normalise_word(match[0]))]
    ends = [0, *(match.end() for match, _ in found)]
    starts = [*(match.start() for match, _ in found), len(text)]
    gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    return [
        _Word(
            key,
            _OPENING.intersection(before)
            | _CLOSING.intersection(after)
            | ({CAPITAL} if match[0][0].isupper() else frozenset()),
        )
        for (match, key), before, after in zip(found, gaps[:-1], gaps[1:], strict=True)
    ]


_normalise_word = lru_cache(maxsize=65_536)(normalise_spanish)


def _make_mark_score(mark: str, table: NDArray[np.int64], resample: Resample) -> MarkScore:
    both, only_hypothesis, only_reference = (int(each) for each in table.sum(axis=0))
    wrong = to_interval(resample.rate(0))
    return MarkScore(
        mark=mark,
        both=both,
        only_hypothesis=only_hypothesis,
        only_reference=only_reference,
        f1=wrong and Interval(1 - wrong.high, 1 - wrong.value, 1 - wrong.low),
    )


def _compute_f1_points(resample: Resample, before: int, after: int) -> Estimate | None:
    """Return the difference of F1 between two models of `compare_f1`."""
    old, new = slice(2 * before, 2 * before + 2), slice(2 * after, 2 * after + 2)
    old_agreements, old_places = resample.errors[old].astype(np.float64)
    new_agreements, new_places = resample.errors[new].astype(np.float64)
    if not old_places or not new_places:
        return None
    drawn_old, drawn_new = resample.drawn_errors[:, old], resample.drawn_errors[:, new]
    with np.errstate(divide="ignore", invalid="ignore"):
        points = 200 * (drawn_new[:, 0] / drawn_new[:, 1] - drawn_old[:, 0] / drawn_old[:, 1])
    value = 200 * float(new_agreements / new_places - old_agreements / old_places)
    # The first entry of `units` is that of the words.
    units = float(min(resample.units[1 + old.start + 1], resample.units[1 + new.start + 1]))
    trials = compute_trials(float(min(old_places, new_places)), units)
    return Estimate(value, points, units, trials=trials, scale=100.0)
