"""How often models err where Andalusian differs from Castilian, and how often the error is the dialect written down.

A model's rate at the words that bear a site is set against its rate at all other words, *elsewhere*; both count
substituted and deleted words (an inserted word belongs to no site). Where the word that was heard is the word that was
said but for such changes (`niño` for `niños`, `grasias` for `gracias`), the error is *explained* by their phenomena.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, Resample, to_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.evaluation.scoring.alignment import AlignedWord

_SILENT_H: Final = re.compile(r"(?<!c)h")


@dataclass(frozen=True)
class FeatureCounts:
    """Errors of one model at sites and elsewhere; each array has the shape [utterances, phenomena]."""

    feature_words: NDArray[np.int64]
    """Words that bear at least one site of the phenomenon."""
    feature_errors: NDArray[np.int64]
    """Those of them that were substituted or deleted."""
    other_words: NDArray[np.int64]
    other_errors: NDArray[np.int64]
    explained: NDArray[np.int64]
    """Errors at sites where the word was heard as the dialect says it."""


class FeatureErrorRate(EvaluationRecord):
    """One model at the sites of a phenomenon and elsewhere."""

    model: str
    errors: int
    rate: Interval | None
    """Errors over words with a site; None where there is no such word."""
    elsewhere: Interval | None
    """Errors over words without one, in the same utterances and all others."""
    explained: int
    """Errors at sites that are the dialect written down."""

    @property
    def explained_share(self) -> float | None:
        """Share of the errors at sites that the phenomenon explains; None where there is no error."""
        return self.explained / self.errors if self.errors else None


class FeatureScore(EvaluationRecord):
    """Every model on one phenomenon."""

    feature: DialectFeature
    example: str
    words: int
    """Words that bear a site."""
    words_elsewhere: int
    sessions: int
    """Sessions with at least one such word."""
    rates: tuple[FeatureErrorRate, ...]
    """In the order of the models."""
    improvement: Interval | None
    """Relative improvement of the candidate over the base at the sites."""


def count_feature_errors(
    sentences: Sequence[AnnotatedSentence], alignments: Sequence[Sequence[AlignedWord]]
) -> FeatureCounts:
    """What one model made of the sites of each sentence.

    Args:
        sentences: As `find_dialect_features` returns them.
        alignments: The word alignment of each sentence with what the model heard (`scoring.align_words`).

    Raises:
        EvaluationError: An alignment is of another sentence.
    """
    if len(sentences) != len(alignments):
        raise EvaluationError(
            f"{len(sentences)} sentences and {len(alignments)} alignments; pass one alignment for each sentence"
        )
    heard = [_align_hypothesis(each, steps) for each, steps in zip(sentences, alignments, strict=True)]
    column = {kind: at for at, kind in enumerate(DIALECT_FEATURES)}
    starts = np.cumsum([0, *(len(each.words) for each in sentences)])
    bears = np.zeros((int(starts[-1]), len(DIALECT_FEATURES)), dtype=np.int64)
    wrong = np.zeros(len(bears), dtype=bool)
    explained = np.zeros((len(sentences), len(DIALECT_FEATURES)), dtype=np.int64)
    for row, (sentence, words, start) in enumerate(zip(sentences, heard, starts.tolist(), strict=False)):
        for site in sentence.features:
            bears[start + site.word, column[site.feature]] = 1
        if words != sentence.words:
            missed = [said != other for said, other in zip(sentence.words, words, strict=True)]
            wrong[start : start + len(words)] = missed
            for kinds in _find_explained_errors(sentence, words):
                for kind in kinds:
                    explained[row, column[kind]] += 1
    site_words, site_errors = _sum_by_sentence(bears, starts), _sum_by_sentence(bears * wrong[:, None], starts)
    all_words, all_errors = np.diff(starts)[:, None], _sum_by_sentence(wrong[:, None].astype(np.int64), starts)
    return FeatureCounts(site_words, site_errors, all_words - site_words, all_errors - site_errors, explained)


def score_dialect_features(
    names: Sequence[str],
    counts: Sequence[FeatureCounts],
    sessions: Sequence[str],
    draws: Draws,
    base: int | None = None,
    candidate: int | None = None,
) -> tuple[FeatureScore, ...]:
    """Rates with intervals for every phenomenon that occurs, in the order of `DIALECT_FEATURES`.

    Args:
        names: The models.
        counts: What each model made of the same sentences.
        sessions: The session of each sentence.
        draws: Of the same sentences.
        base: Place of the base among the models.
        candidate: Place of the candidate.
    """
    if not counts or not len(sessions):
        return ()
    present = [at for at in range(len(DIALECT_FEATURES)) if counts[0].feature_words[:, at].any()]
    tables = []
    for at in present:
        tables.append(
            Counts(counts[0].feature_words[:, at], np.column_stack([each.feature_errors[:, at] for each in counts]))
        )
        tables.append(
            Counts(counts[0].other_words[:, at], np.column_stack([each.other_errors[:, at] for each in counts]))
        )
    drawn = draws.resample(tables)
    scores = []
    for place, at in enumerate(present):
        sites, others = drawn[2 * place], drawn[2 * place + 1]
        improvement = None
        if base is not None and candidate is not None:
            improvement = to_interval(sites.relative_improvement(base, candidate))
        scores.append(
            FeatureScore(
                feature=DIALECT_FEATURES[at],
                example=FEATURE_EXAMPLES[DIALECT_FEATURES[at]],
                words=sites.words,
                words_elsewhere=others.words,
                sessions=len({sessions[row] for row in np.flatnonzero(counts[0].feature_words[:, at]).tolist()}),
                rates=_compute_rates(names, counts, at, sites, others),
                improvement=improvement,
            )
        )
    return tuple(scores)


def _compute_rates(
    names: Sequence[str], counts: Sequence[FeatureCounts], at: int, sites: Resample, others: Resample
) -> tuple[FeatureErrorRate, ...]:
    return tuple(
        FeatureErrorRate(
            model=name,
            errors=int(sites.errors[model]),
            rate=to_interval(sites.rate(model)),
            elsewhere=to_interval(others.rate(model)),
            explained=int(counts[model].explained[:, at].sum()),
        )
        for model, name in enumerate(names)
    )


def _sum_by_sentence(of_words: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over the words of each sentence, shape [sentences, columns]; sentence i begins at word `starts[i]`."""
    summed = np.vstack([np.zeros((1, of_words.shape[1]), dtype=np.int64), np.cumsum(of_words, axis=0)])
    return np.diff(summed[starts], axis=0)


def _align_hypothesis(sentence: AnnotatedSentence, steps: Sequence[AlignedWord]) -> tuple[str | None, ...]:
    """What stands for each word of the sentence in the hypothesis, None where it was deleted."""
    pairs = [(step.reference, step.hypothesis) for step in steps if step.reference is not None]
    if tuple(said for said, _ in pairs) != sentence.words:
        raise EvaluationError(
            f"an alignment of {len(pairs)} words is not of the sentence with {len(sentence.words)} words it stands "
            "beside; align the text that `spanish` returns, in the order of the sentences"
        )
    return tuple(heard for _, heard in pairs)


def _find_explained_errors(sentence: AnnotatedSentence, heard: Sequence[str | None]) -> Iterator[set[DialectFeature]]:
    """For each wrong word that is the dialect written down, the phenomena it takes."""
    by_word: dict[int, list[FeatureOccurrence]] = {}
    for site in sentence.features:
        by_word.setdefault(site.word, []).append(site)
    joined: set[int] = set()
    for at in range(len(sentence.words) - 1):
        if at not in joined and _is_contraction(sentence.words, heard, at, by_word):
            joined |= {at, at + 1}
            yield {"vowel_contact"}
            yield {"vowel_contact"}
    for at, said in enumerate(sentence.words):
        other = heard[at]
        if other is not None and other != said and at in by_word and at not in joined:
            plain, target = said.translate(WITHOUT_ACCENTS), other.translate(WITHOUT_ACCENTS)
            used = _match_dialect_spelling(plain, target, by_word[at])
            if used:
                yield used


def _is_contraction(
    words: Sequence[str], heard: Sequence[str | None], at: int, by_word: dict[int, list[FeatureOccurrence]]
) -> bool:
    """Whether the vowels of two words met and one word was heard: `para ahora` as `parahora` or `paora`."""
    one, two = heard[at], heard[at + 1]
    if (one is None) == (two is None) or one == words[at] or two == words[at + 1]:
        return False
    ends = len(words[at])
    if not any(site.feature == "vowel_contact" and site.end == ends for site in by_word.get(at, ())):
        return False
    first, second, word = (
        _SILENT_H.sub("", each.translate(WITHOUT_ACCENTS)) for each in (*words[at : at + 2], one or two or "")
    )
    shorter = [first, *(["pa"] if first == "para" else [])]
    return any(word in (part + second, part[:-1] + second, part + second[1:]) for part in shorter)


def _match_dialect_spelling(said: str, heard: str, sites: Sequence[FeatureOccurrence]) -> set[DialectFeature] | None:
    """The phenomena whose changes turn what was said into what was heard, or None where other changes are needed."""
    dead: set[tuple[int, int]] = set()

    def read(at: int, to: int) -> set[DialectFeature] | None:
        if at == len(said):
            return set() if to == len(heard) else None
        if (at, to) in dead:
            return None
        if to < len(heard) and said[at] == heard[to] and (rest := read(at + 1, to + 1)) is not None:
            return rest
        for site in sites:
            for sound in _list_spellings(site, said) if site.start == at else ():
                if heard.startswith(sound, to) and (rest := read(site.end, to + len(sound))) is not None:
                    return {site.feature, *rest}
        dead.add((at, to))
        return None

    return read(0, 0)


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
"""How a recogniser may write the changed sound of some letters; where nothing stands here, they vanish or become h."""


def _list_spellings(site: FeatureOccurrence, said: str) -> tuple[str, ...]:
    letters = said[site.start : site.end]
    if site.feature == "participle_d":
        # `cansado` is heard as `cansao`, `cansada` as `cansá`.
        return (letters[1:], "") if said[site.start - 1] == letters[1] else (letters[1:],)
    if site.feature == "intervocalic_d":
        return (letters[1:], "")  # `todo` is heard as `too` or `to`
    if site.feature == "vowel_contact":
        return ("",)
    return _DIALECT_SPELLINGS.get(site.feature, {}).get(letters, ("", "h"))
