"""Error rates at dialect features, and the share of errors that are the dialect as pronounced.

The error rate at words with a feature is compared with the rate at all other words, *elsewhere*. Both count substituted
and deleted words; an inserted word has no feature. An error is *explained* by features if their changes alone turn the
reference word into the hypothesis (`niños` into `niño`, `gracias` into `grasias`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.dialect_features import (
    DIALECT_FEATURES,
    FEATURE_EXAMPLES,
    WITHOUT_ACCENTS,
    AnnotatedSentence,
    DialectFeature,
    FeatureOccurrence,
)
from habla_ml.evaluation.scoring.alignment import check_equal_lengths
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, to_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.evaluation.scoring.alignment import AlignedWord

_SILENT_H: Final = re.compile(r"(?<!c)h")


@dataclass(frozen=True)
class FeatureCounts:
    """Errors of one model at features and elsewhere; each array has the shape [utterances, features]."""

    feature_words: NDArray[np.int64]
    """Words with the feature."""
    feature_errors: NDArray[np.int64]
    """Substituted and deleted words with the feature."""
    other_words: NDArray[np.int64]
    other_errors: NDArray[np.int64]
    explained: NDArray[np.int64]
    """Errors at the feature that it explains."""


class FeatureErrorRate(EvaluationRecord):
    """The errors of one model at one feature and elsewhere."""

    model: str
    errors: int
    rate: Interval | None
    """Errors over words with the feature; None without such words."""
    elsewhere: Interval | None
    """Errors over words without it, in all utterances."""
    explained: int
    """Errors that the feature explains."""


class FeatureScore(EvaluationRecord):
    """The errors of every model at one feature."""

    feature: DialectFeature
    example: str
    words: int
    """Words with the feature."""
    words_elsewhere: int
    sessions: int
    """Sessions with such a word."""
    rates: tuple[FeatureErrorRate, ...]
    """In the order of the models."""
    improvement: Interval | None
    """Relative improvement of the candidate over the base at the feature."""


def count_feature_errors(
    sentences: Sequence[AnnotatedSentence], alignments: Sequence[Sequence[AlignedWord]]
) -> FeatureCounts:
    """Count the errors of one model at the features of each sentence.

    Args:
        sentences: From `find_dialect_features`.
        alignments: Of each normalised sentence with its hypothesis (`scoring.alignment.align_words`).

    Raises:
        EvaluationError: An alignment belongs to another sentence.
    """
    check_equal_lengths(sentences=sentences, alignments=alignments)
    column = {feature: at for at, feature in enumerate(DIALECT_FEATURES)}
    starts = np.cumsum([0, *(len(each.words) for each in sentences)])
    has_feature = np.zeros((int(starts[-1]), len(DIALECT_FEATURES)), dtype=np.int64)
    is_error = np.zeros((len(has_feature), 1), dtype=np.int64)
    explained = np.zeros((len(sentences), len(DIALECT_FEATURES)), dtype=np.int64)
    for row, (sentence, steps, start) in enumerate(zip(sentences, alignments, starts.tolist(), strict=False)):
        hypothesis = _list_hypothesis_words(sentence, steps)
        for each in sentence.features:
            has_feature[start + each.word, column[each.feature]] = 1
        if hypothesis != sentence.words:
            is_error[start : start + len(hypothesis), 0] = [
                word != other for word, other in zip(sentence.words, hypothesis, strict=True)
            ]
            for feature in _find_explaining_features(sentence, hypothesis):
                explained[row, column[feature]] += 1
    feature_words, feature_errors, all_errors = (
        _sum_by_sentence(each, starts) for each in (has_feature, has_feature * is_error, is_error)
    )
    all_words = np.diff(starts)[:, None]
    return FeatureCounts(
        feature_words, feature_errors, all_words - feature_words, all_errors - feature_errors, explained
    )


def score_dialect_features(
    names: Sequence[str],
    counts: Sequence[FeatureCounts],
    sessions: Sequence[str],
    draws: Draws,
    base: int | None = None,
    candidate: int | None = None,
) -> tuple[FeatureScore, ...]:
    """Return rates with intervals for every feature that occurs, in the order of `DIALECT_FEATURES`.

    Args:
        names: The models.
        counts: The counts of each model on the same sentences.
        sessions: The session of each sentence.
        draws: Of the same sentences.
        base: Index of the base model, if any.
        candidate: Index of the candidate, if any.
    """
    if not counts or not len(sessions):
        return ()
    first = counts[0]
    present = np.flatnonzero(first.feature_words.any(axis=0)).tolist()
    tables = []
    for at in present:
        feature_errors = np.column_stack([each.feature_errors[:, at] for each in counts])
        other_errors = np.column_stack([each.other_errors[:, at] for each in counts])
        tables += [Counts(first.feature_words[:, at], feature_errors), Counts(first.other_words[:, at], other_errors)]
    drawn = draws.resample(tables)
    scores = []
    for at, with_feature, elsewhere in zip(present, drawn[::2], drawn[1::2], strict=True):
        improvement = None
        if base is not None and candidate is not None:
            improvement = to_interval(with_feature.relative_improvement(base, candidate))
        rates = tuple(
            FeatureErrorRate(
                model=name,
                errors=int(with_feature.errors[model]),
                rate=to_interval(with_feature.rate(model)),
                elsewhere=to_interval(elsewhere.rate(model)),
                explained=int(counts[model].explained[:, at].sum()),
            )
            for model, name in enumerate(names)
        )
        scores.append(
            FeatureScore(
                feature=DIALECT_FEATURES[at],
                example=FEATURE_EXAMPLES[DIALECT_FEATURES[at]],
                words=with_feature.words,
                words_elsewhere=elsewhere.words,
                sessions=len({sessions[row] for row in np.flatnonzero(first.feature_words[:, at]).tolist()}),
                rates=rates,
                improvement=improvement,
            )
        )
    return tuple(scores)


def _sum_by_sentence(of_words: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum over the words of each sentence, shape [sentences, columns]; sentence i begins at word `starts[i]`."""
    summed = np.vstack([np.zeros((1, of_words.shape[1]), dtype=np.int64), np.cumsum(of_words, axis=0)])
    return np.diff(summed[starts], axis=0)


def _list_hypothesis_words(sentence: AnnotatedSentence, steps: Sequence[AlignedWord]) -> tuple[str | None, ...]:
    """Return the hypothesis word for each reference word; None for a deletion."""
    pairs = [(step.reference, step.hypothesis) for step in steps if step.reference is not None]
    if tuple(reference for reference, _ in pairs) != sentence.words:
        raise EvaluationError(
            f"an alignment of {len(pairs)} words does not belong to its sentence of {len(sentence.words)} words; align "
            "the text that `normalise_spanish` returns, in the order of the sentences"
        )
    return tuple(hypothesis for _, hypothesis in pairs)


def _find_explaining_features(
    sentence: AnnotatedSentence, hypothesis: Sequence[str | None]
) -> Iterator[DialectFeature]:
    """Yield, for each explained error, every feature that is needed to explain it."""
    by_word: dict[int, list[FeatureOccurrence]] = {}
    for each in sentence.features:
        by_word.setdefault(each.word, []).append(each)
    contracted: set[int] = set()
    for at in range(len(sentence.words) - 1):
        if at not in contracted and _is_contraction(sentence.words, hypothesis, at, by_word.get(at, ())):
            contracted |= {at, at + 1}
            yield "vowel_contact"
            yield "vowel_contact"
    for at, (word, other) in enumerate(zip(sentence.words, hypothesis, strict=True)):
        if other is not None and other != word and at in by_word and at not in contracted:
            yield from _match_dialect_spelling(
                word.translate(WITHOUT_ACCENTS), other.translate(WITHOUT_ACCENTS), by_word[at]
            )


def _is_contraction(
    words: Sequence[str], hypothesis: Sequence[str | None], at: int, features: Sequence[FeatureOccurrence]
) -> bool:
    """Return whether two words are one in the hypothesis because their vowels merge: `parahora` or `paora`."""
    one, two = hypothesis[at], hypothesis[at + 1]
    if (one is None) == (two is None) or one == words[at] or two == words[at + 1]:
        return False
    if not any(each.feature == "vowel_contact" and each.end == len(words[at]) for each in features):
        return False
    first, second, merged = (
        _SILENT_H.sub("", each.translate(WITHOUT_ACCENTS)) for each in (*words[at : at + 2], one or two or "")
    )
    variants = [first, "pa"] if first == "para" else [first]
    return any(merged in (each + second, each[:-1] + second, each + second[1:]) for each in variants)


def _match_dialect_spelling(
    word: str, hypothesis: str, features: Sequence[FeatureOccurrence]
) -> frozenset[DialectFeature]:
    """Return the features whose changes turn the word into the hypothesis; empty if other changes are needed."""

    @cache
    def match(at: int, to: int) -> frozenset[DialectFeature] | None:
        if at == len(word):
            return frozenset() if to == len(hypothesis) else None
        if to < len(hypothesis) and word[at] == hypothesis[to] and (rest := match(at + 1, to + 1)) is not None:
            return rest
        for each in features:
            for spelling in _list_spellings(each, word) if each.start == at else ():
                if hypothesis.startswith(spelling, to) and (rest := match(each.end, to + len(spelling))) is not None:
                    return rest | {each.feature}
        return None

    return match(0, 0) or frozenset()


_DIALECT_SPELLINGS: Final[dict[DialectFeature, dict[str, tuple[str, ...]]]] = {
    "seseo": {"z": ("s",), "c": ("s",)},
    "ceceo": {"s": ("z", "c")},
    "yeismo": {"ll": ("y",), "y": ("ll",)},
    "l_before_consonant": {"l": ("r",)},
    "learned_cluster": {"x": ("s", "ss", "")},
    "jota": {"j": ("h", "", "g"), "g": ("h", "", "j")},
    "che": {"ch": ("sh", "x")},
    "para": {"ra": ("",)},
    "final_consonant": {"r": ("", "l"), "l": ("", "r"), "n": ("", "m"), "z": ("", "h"), "d": ("", "z", "t")},
    "s_before_consonant": {"s": ("", "h", "j"), "z": ("", "h", "j"), "x": ("", "h", "s")},
}
"""How a recogniser may write the changed sound of some letters. All other letters are deleted or become h."""


def _list_spellings(occurrence: FeatureOccurrence, word: str) -> tuple[str, ...]:
    letters = word[occurrence.start : occurrence.end]
    if occurrence.feature == "participle_d":
        # `cansado` becomes `cansao`, `cansada` becomes `cansá`.
        return (letters[1:], "") if word[occurrence.start - 1] == letters[1] else (letters[1:],)
    if occurrence.feature == "intervocalic_d":
        return (letters[1:], "")  # `todo` becomes `too` or `to`
    if occurrence.feature == "vowel_contact":
        return ("",)
    return _DIALECT_SPELLINGS.get(occurrence.feature, {}).get(letters, ("", "h"))
