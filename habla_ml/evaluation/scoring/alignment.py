"""Counts of errors: what was substituted, deleted and inserted, in words and in characters.

The alignment is jiwer's: the fewest edits, every edit of the same weight. The counts come straight from rapidfuzz,
the aligner inside jiwer, which is ten times as fast as building jiwer's objects for them; `compute_corpus_wer` goes
through jiwer itself and every comparison checks one against the other.

What is fixed and what is not: the number of edits, so the WER, is the same for every aligner that minimises it, and
so is insertions minus deletions, the difference of the two lengths. How edits divide is a choice among equally short
alignments: two substitutions may be told as one deletion, one insertion and one more hit. NIST's sclite weighs a
substitution 4 and insertions and deletions 3 each, and so

- where it needs the same number of edits, it has 2k substitutions fewer and k deletions, insertions and hits more
  than here, with 0 <= 2k <= substitutions here;
- it may prefer an alignment with more edits: never more than 4/3 of those here, and at most a third of the
  substitutions here more. A WER by sclite is therefore never below one of ours.

Defined corners: an empty reference makes every hypothesis word an insertion and has no rate of its own (its
insertions count in the rate of a set); an empty hypothesis makes every reference word a deletion; two empty texts
count nothing. A text of markers or punctuation only is empty once normalised, and is so in this sense; as written,
a marker is a word like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring import normalisation as normalise
from habla_ml.evaluation.scoring.normalisation import Normaliser

SCORER_VERSION = f"scorer-1+{normalise.NORMALISER_VERSION}"
"""Two figures may be compared only when this is the same for both."""

_METRIC_FILE = Path(__file__).parent / "habla_wer" / "habla_wer.py"


@dataclass(frozen=True)
class ErrorCounts:
    """The alignment of a hypothesis with its reference, counted. Units are words or characters."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    hits: int = 0

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_words(self) -> int:
        """Units in the reference: S + D + H."""
        return self.substitutions + self.deletions + self.hits

    @property
    def wer(self) -> float | None:
        """Errors over reference units; None where the reference has none. Can exceed 1."""
        return self.errors / self.reference_words if self.reference_words else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.hits + other.hits,
        )


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance, scored in words and in characters (spaces are characters)."""

    words: ErrorCounts
    characters: ErrorCounts


EditOperation = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True)
class AlignedWord:
    """One step of the alignment; the side that has no word is None."""

    operation: EditOperation
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class Scorer:
    """Scores under one normaliser and remembers what it normalised: twenty versions share their references."""

    normaliser: Normaliser
    _normalised: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def normalise_cached(self, text: str) -> str:
        """The text after the normaliser."""
        found = self._normalised.get(text)
        if found is None:
            found = self._normalised[text] = self.normaliser(text)
        return found

    def score(self, references: Sequence[str], hypotheses: Sequence[str]) -> list[UtteranceScore]:
        """Score each hypothesis against its reference; see the module for texts that are empty.

        Raises:
            EvaluationError: The lists differ in length.
        """
        _check_same_length(references, hypotheses)
        scores = []
        for said, heard in zip(references, hypotheses, strict=True):
            left, right = self.normalise_cached(said), self.normalise_cached(heard)
            scores.append(UtteranceScore(_count_edits(left.split(), right.split()), _count_edits(left, right)))
        return scores


def score_utterances(
    references: Sequence[str], hypotheses: Sequence[str], normaliser: Normaliser
) -> list[UtteranceScore]:
    """Score one set of hypotheses; a `Scorer` is faster for several. Raises as `Scorer.score`."""
    return Scorer(normaliser).score(references, hypotheses)


def align_words(reference: str, hypothesis: str) -> list[AlignedWord]:
    """The word alignment of two normalised texts, in reading order."""
    import jiwer

    left, right = reference.split(), hypothesis.split()
    steps: list[AlignedWord] = []
    for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
        said = left[chunk.ref_start_idx : chunk.ref_end_idx]
        heard = right[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for at in range(max(len(said), len(heard))):
            steps.append(
                AlignedWord(
                    chunk.type,
                    said[at] if at < len(said) else None,
                    heard[at] if at < len(heard) else None,
                )
            )
    return steps


def sum_counts(counts: Sequence[ErrorCounts]) -> ErrorCounts:
    """The sum of many counts."""
    return ErrorCounts(
        sum(each.substitutions for each in counts),
        sum(each.deletions for each in counts),
        sum(each.insertions for each in counts),
        sum(each.hits for each in counts),
    )


def compute_corpus_wer(references: Sequence[str], hypotheses: Sequence[str]) -> float | None:
    """The corpus WER of texts as they come, through the project's own `evaluate` metric.

    None where the references hold no word. Needs no network: the metric is loaded from its path.
    """
    import evaluate

    _check_same_length(references, hypotheses)
    if not references:
        return None
    metric = evaluate.load(str(_METRIC_FILE), keep_in_memory=True)
    result = metric.compute(predictions=list(hypotheses), references=list(references))
    wer: float | None = result["wer"]
    return wer


def _count_edits(said: Sequence[str], heard: Sequence[str]) -> ErrorCounts:
    """Align two lists of words, or two texts by their characters, and count."""
    from rapidfuzz.distance import Levenshtein

    if said == heard:
        return ErrorCounts(hits=len(said))
    edits = [each.tag for each in Levenshtein.editops(said, heard)]
    substitutions, deletions = edits.count("replace"), edits.count("delete")
    return ErrorCounts(
        substitutions=substitutions,
        deletions=deletions,
        insertions=len(edits) - substitutions - deletions,
        hits=len(said) - substitutions - deletions,
    )


def _check_same_length(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise EvaluationError(
            f"{len(references)} references and {len(hypotheses)} hypotheses cannot be paired; "
            "pass one hypothesis for each reference, empty where nothing was heard"
        )
