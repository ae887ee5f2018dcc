"""What the scorer's normaliser does with the digits that Whisper writes.

The conventions write numbers in words, and whisper-base writes digits. The normaliser reads digits in every possible
way and chooses the reading nearest to the reference, so that the way of writing is no error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from habla_ml.evaluation.scoring.alignment import score_utterances, sum_counts
from habla_ml.evaluation.scoring.normalisation import normalise_spanish, normalise_spanish_pair

_DIGIT: Final = re.compile(r"\d")
_NOT_WORD: Final = re.compile(r"[^\w\s]|_")
_EXAMPLES: Final = 12


@dataclass(frozen=True)
class DigitExample:
    """A text with digits, and the words that the scorer compares."""

    reference: str
    hypothesis: str
    read_as: str


@dataclass(frozen=True)
class DigitScore:
    """One model on the test set."""

    model: str
    clips: int
    clips_with_digits: int
    wer: float | None
    """As the report has it: digits are read as words."""
    wer_as_written: float | None
    """Lower case without punctuation, digits as they are."""
    examples: tuple[DigitExample, ...]


def score_digits(model: str, references: Sequence[str], texts: Sequence[str]) -> DigitScore:
    """Return the WER of texts with and without the normaliser's readings of numbers."""
    pairs = [(one, other) for one, other in zip(references, texts, strict=True) if _DIGIT.search(other)]
    read, written = (
        sum_counts([each.words for each in score_utterances(list(references), list(texts), normaliser)])
        for normaliser in (normalise_spanish, _drop_case_and_punctuation)
    )
    examples = tuple(
        DigitExample(one, other, normalise_spanish_pair(one, other)[1]) for one, other in pairs[:_EXAMPLES]
    )
    return DigitScore(model, len(texts), len(pairs), read.wer, written.wer, examples)


def _drop_case_and_punctuation(text: str) -> str:
    return " ".join(_NOT_WORD.sub(" ", text.lower()).split())
