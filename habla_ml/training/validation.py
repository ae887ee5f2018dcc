"""The yardstick during training: WER of greedy decoding on a few clips. Versions are judged elsewhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

_NOT_A_WORD = re.compile(r"[^\w\s]|_")


class ValidationPoint(BaseModel):
    """One evaluation during training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    wer: float
    """Word errors per reference word; above 1 where the model invents more than was said."""
    loss: float


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """(S + D + I) / reference words over all pairs, in lower case and without punctuation."""
    import jiwer

    said = [_words(each) for each in references]
    heard = [_words(each) for each in hypotheses]
    spoken = [(reference, hypothesis) for reference, hypothesis in zip(said, heard, strict=True) if reference]
    if not spoken:
        return 0.0
    counts = jiwer.process_words([reference for reference, _ in spoken], [hypothesis for _, hypothesis in spoken])
    return float(counts.wer)


def best_point(curve: Sequence[ValidationPoint]) -> ValidationPoint:
    """Lowest WER; among equals the lowest loss, then the earliest."""
    return min(curve, key=lambda point: (point.wer, point.loss, point.step))


def patience_is_spent(curve: Sequence[ValidationPoint], patience: int) -> bool:
    """Whether the last `patience` evaluations brought no better point than those before."""
    if len(curve) <= patience:
        return False
    return best_point(curve).step <= curve[-patience - 1].step


def _words(text: str) -> str:
    return " ".join(_NOT_A_WORD.sub(" ", unicodedata.normalize("NFC", text).lower()).split())
