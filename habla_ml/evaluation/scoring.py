"""Counts of errors: what was substituted, deleted and inserted, in words and in characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from habla_ml.errors import EvaluationError
from habla_ml.evaluation import normalise
from habla_ml.evaluation.normalise import Normaliser

if TYPE_CHECKING:
    import jiwer

VERSION = f"scorer-1+{normalise.VERSION}"
"""Two figures may be compared only when this is the same for both."""

_METRIC = Path(__file__).parent / "metrics" / "habla_wer" / "habla_wer.py"


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


Operation = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True)
class AlignedWord:
    """One step of the alignment; the side that has no word is None."""

    operation: Operation
    reference: str | None
    hypothesis: str | None


def score_utterances(
    references: Sequence[str], hypotheses: Sequence[str], normaliser: Normaliser
) -> list[UtteranceScore]:
    """Score each hypothesis against its reference after `normaliser`.

    An empty reference makes every hypothesis word an insertion; an empty hypothesis makes every reference word a
    deletion; two empty texts count nothing. Raises `EvaluationError` where the lists differ in length.
    """
    import jiwer

    _refuse_unequal(references, hypotheses)
    if not references:
        return []
    folded = {text: normaliser(text) for text in {*references, *hypotheses}}
    left, right = [folded[text] for text in references], [folded[text] for text in hypotheses]
    words = jiwer.process_words(left, right).alignments
    characters = jiwer.process_characters(left, right).alignments
    return [UtteranceScore(_count(a), _count(b)) for a, b in zip(words, characters, strict=True)]


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


def total(counts: Sequence[ErrorCounts]) -> ErrorCounts:
    """The sum of many counts."""
    return ErrorCounts(
        sum(each.substitutions for each in counts),
        sum(each.deletions for each in counts),
        sum(each.insertions for each in counts),
        sum(each.hits for each in counts),
    )


def corpus_wer(references: Sequence[str], hypotheses: Sequence[str]) -> float | None:
    """The corpus WER of texts as they come, through the project's own `evaluate` metric.

    None where the references hold no word. Needs no network: the metric is loaded from its path.
    """
    import evaluate

    _refuse_unequal(references, hypotheses)
    if not references:
        return None
    metric = evaluate.load(str(_METRIC), keep_in_memory=True)
    result = metric.compute(predictions=list(hypotheses), references=list(references))
    wer: float | None = result["wer"]
    return wer


def _count(chunks: Sequence[jiwer.AlignmentChunk]) -> ErrorCounts:
    """Add up the chunks of one alignment."""
    counts = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in chunks:
        said = chunk.ref_end_idx - chunk.ref_start_idx
        heard = chunk.hyp_end_idx - chunk.hyp_start_idx
        counts[chunk.type] += max(said, heard)
    return ErrorCounts(counts["substitute"], counts["delete"], counts["insert"], counts["equal"])


def _refuse_unequal(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise EvaluationError(
            f"{len(references)} references and {len(hypotheses)} hypotheses cannot be paired; "
            "pass one hypothesis for each reference, empty where nothing was heard"
        )
