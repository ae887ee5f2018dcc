"""Validation during training: WER of greedy decoding on a few clips. `evaluation` compares versions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

_NON_WORD_CHARACTERS = re.compile(r"[^\w\s]|_")


class ValidationPoint(BaseModel):
    """One evaluation during training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    wer: float
    """Word errors per reference word; above 1 if the model inserts many words."""
    loss: float


def compute_word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return (S + D + I) / reference words over all pairs, in lower case and without punctuation."""
    import jiwer

    texts = zip(map(_normalise_words, references), map(_normalise_words, hypotheses), strict=True)
    pairs = [(reference, hypothesis) for reference, hypothesis in texts if reference]
    if not pairs:
        return 0.0
    return float(jiwer.process_words([each for each, _ in pairs], [each for _, each in pairs]).wer)


def find_best_point(curve: Sequence[ValidationPoint]) -> ValidationPoint:
    """Return the point with the lowest WER, then the lowest loss, then the earliest step."""
    return min(curve, key=lambda point: (point.wer, point.loss, point.step))


def is_patience_exhausted(curve: Sequence[ValidationPoint], patience: int) -> bool:
    """Return whether the last `patience` evaluations are no better than the earlier ones."""
    if len(curve) <= patience:
        return False
    return find_best_point(curve).step <= curve[-patience - 1].step


def _normalise_words(text: str) -> str:
    return " ".join(_NON_WORD_CHARACTERS.sub(" ", unicodedata.normalize("NFC", text).lower()).split())
