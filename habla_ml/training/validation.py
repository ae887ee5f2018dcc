"""The yardstick during training: WER of greedy decoding on a few clips. Versions are judged elsewhere."""

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
    """Word errors per reference word; above 1 where the model invents more than was said."""
    loss: float


def compute_word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """(S + D + I) / reference words over all pairs, in lower case and without punctuation."""
    import jiwer

    said = [_normalise_words(each) for each in references]
    heard = [_normalise_words(each) for each in hypotheses]
    spoken = [(reference, hypothesis) for reference, hypothesis in zip(said, heard, strict=True) if reference]
    if not spoken:
        return 0.0
    counts = jiwer.process_words([reference for reference, _ in spoken], [hypothesis for _, hypothesis in spoken])
    return float(counts.wer)


def find_best_point(curve: Sequence[ValidationPoint]) -> ValidationPoint:
    """Lowest WER; among equals the lowest loss, then the earliest."""
    return min(curve, key=lambda point: (point.wer, point.loss, point.step))


def is_patience_exhausted(curve: Sequence[ValidationPoint], patience: int) -> bool:
    """Whether the last `patience` evaluations brought no better point than those before."""
    if len(curve) <= patience:
        return False
    return find_best_point(curve).step <= curve[-patience - 1].step


def _normalise_words(text: str) -> str:
    return " ".join(_NON_WORD_CHARACTERS.sub(" ", unicodedata.normalize("NFC", text).lower()).split())
