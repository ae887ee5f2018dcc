"""Punctuation and capitals, judged on the words that were heard right.

Two texts are aligned by their words, case and punctuation aside. Each pair of equal words is one place: the marks that
open before it (¿ ¡) and those that close behind it (. , ; : ? ! …) are compared, and whether it starts with a capital.
ErasureMatcher beside a word that was misheard, lost or invented are left out: the word error rate has counted that word already.
Numbers are compared as words (`3` and `tres` are equal); one that is written as several words matches only itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Estimate, Interval, Resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARKS: Final = (".", ",", ";", ":", "?", "!", "…", "¿", "¡")
ALL_MARKS: Final = "all marks"
CAPITAL: Final = "capital"
_OPENING: Final = frozenset("¿¡")
_CLOSING: Final = frozenset(MARKS) - _OPENING
_NO_MARKS: Final[frozenset[str]] = frozenset()
_MARKER: Final = re.compile(r"\[[^\[\]]{0,60}\]|<[^<>]{0,60}>")
_WORD: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")


@dataclass(frozen=True)
class MatchCounts:
    """Places where reference and hypothesis agree on a mark, and where only one has it."""

    both: int = 0
    only_hypothesis: int = 0
    only_reference: int = 0

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where neither text has the mark, 0 where only one has."""
        places = 2 * self.both + self.only_hypothesis + self.only_reference
        return 2 * self.both / places if places else None

    @property
    def precision(self) -> float | None:
        """Share of the hypothesis's marks that the reference has; None where it has none."""
        written = self.both + self.only_hypothesis
        return self.both / written if written else None

    @property
    def recall(self) -> float | None:
        """Share of the reference's marks that the hypothesis has; None where it has none."""
        wanted = self.both + self.only_reference
        return self.both / wanted if wanted else None

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(
            self.both + other.both,
            self.only_hypothesis + other.only_hypothesis,
            self.only_reference + other.only_reference,
        )


_NO_MATCHES: Final = MatchCounts()


@dataclass(frozen=True)
class UtterancePunctuation:
    """One utterance: its words, those heard right, and the counts of each mark and of capitals, in `MARKS`' order."""

    reference_words: int
    matched_words: int
    marks: tuple[MatchCounts, ...]
    capitals: MatchCounts


class MarkScore(EvaluationRecord):
    """One mark, all marks together (micro-average), or capitals."""

    mark: str
    both: int
    only_hypothesis: int
    only_reference: int
    f1: Interval | None
    """None where neither text has it."""


class PunctuationScore(EvaluationRecord):
    """How well one model writes what it heard."""

    reference_words: int
    matched_words: int
    """Words heard right: all that is judged here."""
    marks: tuple[MarkScore, ...]
    punctuation: MarkScore
    """All marks together."""
    capitals: MarkScore


class _Word(NamedTuple):
    key: str
    """What it is aligned by."""
    marks: frozenset[str]
    is_capital: bool


@dataclass
class _WordParser:
    """Texts to words; remembers spellings and gaps, of which any text has few."""

    keys: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """What stands between two words → marks that close the first, marks that open the second."""

    def words(self, text: str) -> list[_Word]:
        """The words with the marks around them; a mark between two words belongs to where it can stand."""
        text = unicodedata.normalize("NFC", _MARKER.sub(" ", text)).replace("...", "…")
        found = [
            (each.start(), each.end(), each[0], key) for each in _WORD.finditer(text) if (key := self._key(each[0]))
        ]
        ends = [0, *(end for _, end, _, _ in found)]
        starts = [*(start for start, _, _, _ in found), len(text)]
        gaps = [self._marks(text[end:start]) for end, start in zip(ends, starts, strict=True)]
        return [
            _Word(key, before[1] | after[0] if before[1] or after[0] else _NO_MARKS, spelling[0].isupper())
            for (_, _, spelling, key), before, after in zip(found, gaps[:-1], gaps[1:], strict=True)
        ]

    def _key(self, spelling: str) -> str:
        if spelling not in self.keys:
            self.keys[spelling] = normalise_spanish(spelling).replace(" ", "_")
        return self.keys[spelling]

    def _marks(self, gap: str) -> tuple[frozenset[str], frozenset[str]]:
        if gap not in self.gaps:
            self.gaps[gap] = (_CLOSING.intersection(gap), _OPENING.intersection(gap))
        return self.gaps[gap]


def count_punctuation(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[UtterancePunctuation, ...]:
    """The counts of each utterance, texts as written; markers in brackets are left out.

    Where either text has no word nothing is counted. Raises `EvaluationError` where the lists differ in length.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise EvaluationError(
            f"{len(references)} references and {len(hypotheses)} hypotheses cannot be paired; pass one hypothesis "
            "for each reference, empty where nothing was heard"
        )
    if not references:
        return ()
    reader = _WordParser()
    said, heard = [reader.words(each) for each in references], [reader.words(each) for each in hypotheses]
    alignments = jiwer.process_words(
        [" ".join(word.key for word in each) for each in said],
        [" ".join(word.key for word in each) for each in heard],
    ).alignments
    counted = []
    for left, right, chunks in zip(said, heard, alignments, strict=True):
        pairs = [
            (left[chunk.ref_start_idx + at], right[chunk.hyp_start_idx + at])
            for chunk in chunks
            if chunk.type == "equal"
            for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
        ]
        counted.append(
            UtterancePunctuation(
                len(left),
                len(pairs),
                _count_marks(pairs),
                _count_capitals(pairs),
            )
        )
    return tuple(counted)


def score_punctuation(
    sessions: Sequence[str], counts: Sequence[UtterancePunctuation], draws: int, seed: int
) -> PunctuationScore:
    """One model's F1 with 95 % intervals over sessions; `sessions` has the session of each utterance."""
    columns = _to_array(counts)
    rows = {**{mark: [at] for at, mark in enumerate(MARKS)}, ALL_MARKS: range(len(MARKS)), CAPITAL: [len(MARKS)]}
    tables = [columns[:, chosen].sum(axis=1) for chosen in rows.values()]
    # F1 is one minus the disagreements over twice the agreements and the disagreements.
    resamples = Draws.of(sessions, draws, seed).resample(
        [Counts(2 * table[:, 0] + table[:, 1] + table[:, 2], (table[:, 1] + table[:, 2])[:, None]) for table in tables]
    )
    *marks, punctuation, capitals = (
        _make_mark_score(what, table, resample) for what, table, resample in zip(rows, tables, resamples, strict=True)
    )
    return PunctuationScore(
        reference_words=sum(each.reference_words for each in counts),
        matched_words=sum(each.matched_words for each in counts),
        marks=tuple(marks),
        punctuation=punctuation,
        capitals=capitals,
    )


def compare_punctuation(
    sessions: Sequence[str],
    counts: Sequence[Sequence[UtterancePunctuation]],
    pairs: Sequence[tuple[int, int]],
    draws: int,
    seed: int,
) -> tuple[dict[tuple[int, int], Interval | None], dict[tuple[int, int], Interval | None]]:
    """Return the difference of F1 for each pair of models, of all marks and of capitals, on the same draws of sessions.

    Points (× 100), below 0 is worse; None where a model has none.
    """
    arrays = [_to_array(each) for each in counts]
    marks, capitals = Draws.of(sessions, draws, seed).resample(
        [_stack_places(arrays, slice(0, len(MARKS))), _stack_places(arrays, slice(len(MARKS), None))]
    )
    return (
        {pair: _compute_f1_points(marks, *pair) for pair in pairs},
        {pair: _compute_f1_points(capitals, *pair) for pair in pairs},
    )


def _stack_places(arrays: Sequence[NDArray[np.int64]], chosen: slice) -> Counts:
    """Two columns for each model: places where both texts agree, and those plus all places with a mark.

    Each model has places of its own, so both its agreements and its places are drawn as counts of the utterance.
    """
    columns = []
    for array in arrays:
        summed = array[:, chosen].sum(axis=1)
        columns += [summed[:, 0], summed.sum(axis=1) + summed[:, 0]]
    return Counts(np.ones(len(arrays[0]), np.int64), np.column_stack(columns))


def count_punctuation_of_models(inputs: MetricInputs) -> list[tuple[UtterancePunctuation, ...]]:
    """Return the counts of each model on the test set."""
    sentences = [each.sentence for each in inputs.test.references]
    return [count_punctuation(sentences, model.texts) for model in inputs.test.models]


def score_punctuation_of_models(inputs: MetricInputs) -> list[PunctuationScore | None]:
    """Return the figures of each model; None for an empty test set."""
    if not inputs.test.references:
        return [None] * len(inputs.models)
    settings = inputs.settings
    return [
        score_punctuation(inputs.test.sessions, each, settings.bootstrap_draws, settings.seed)
        for each in inputs.compute_once(count_punctuation_of_models)
    ]


def _compare_models(
    inputs: MetricInputs,
) -> tuple[dict[tuple[int, int], Interval | None], dict[tuple[int, int], Interval | None]]:
    if not inputs.test.references:
        return {}, {}
    counts, settings = inputs.compute_once(count_punctuation_of_models), inputs.settings
    return compare_punctuation(inputs.test.sessions, counts, inputs.pairs, settings.bootstrap_draws, settings.seed)


def _measure_punctuation(inputs: MetricInputs) -> MetricTable:
    return MetricTable(
        [each.punctuation.f1 if each else None for each in inputs.compute_once(score_punctuation_of_models)],
        inputs.compute_once(_compare_models)[0],
    )


def _measure_capitals(inputs: MetricInputs) -> MetricTable:
    return MetricTable(
        [each.capitals.f1 if each else None for each in inputs.compute_once(score_punctuation_of_models)],
        inputs.compute_once(_compare_models)[1],
    )


PUNCTUATION_F1 = Metric("punctuation_f1", "punctuation F1", "share", _measure_punctuation, is_higher_better=True)
CAPITALS_F1 = Metric("capitals_f1", "capitals F1", "share", _measure_capitals, is_higher_better=True)


def _count_marks(pairs: Sequence[tuple[_Word, _Word]]) -> tuple[MatchCounts, ...]:
    marked = [(said.marks, heard.marks) for said, heard in pairs if said.marks or heard.marks]
    both = Counter(mark for said, heard in marked for mark in said & heard)
    only_hypothesis = Counter(mark for said, heard in marked for mark in heard - said)
    only_reference = Counter(mark for said, heard in marked for mark in said - heard)
    seen = {*both, *only_hypothesis, *only_reference}
    return tuple(
        MatchCounts(both[mark], only_hypothesis[mark], only_reference[mark]) if mark in seen else _NO_MATCHES
        for mark in MARKS
    )


def _count_capitals(pairs: Sequence[tuple[_Word, _Word]]) -> MatchCounts:
    places = Counter((said.is_capital, heard.is_capital) for said, heard in pairs)
    return MatchCounts(places[True, True], places[False, True], places[True, False])


def _to_array(counts: Sequence[UtterancePunctuation]) -> NDArray[np.int64]:
    """Shape [utterances, marks and capitals, both · only hypothesis · only reference]."""
    rows = [
        [(each.both, each.only_hypothesis, each.only_reference) for each in (*utterance.marks, utterance.capitals)]
        for utterance in counts
    ]
    return np.array(rows, dtype=np.int64).reshape(len(counts), len(MARKS) + 1, 3)


def _make_mark_score(what: str, table: NDArray[np.int64], resample: Resample) -> MarkScore:
    both, only_hypothesis, only_reference = (int(each) for each in table.sum(axis=0))
    rate = resample.rate(0)
    wrong = None if rate is None else rate.interval()
    return MarkScore(
        mark=what,
        both=both,
        only_hypothesis=only_hypothesis,
        only_reference=only_reference,
        f1=wrong and Interval(1 - wrong.high, 1 - wrong.value, 1 - wrong.low),
    )


def _compute_f1_points(resample: Resample, before: int, after: int) -> Interval | None:
    """Return the difference of F1 between two models of `_stack_places`."""
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
    return Estimate(value, points, units).interval()
