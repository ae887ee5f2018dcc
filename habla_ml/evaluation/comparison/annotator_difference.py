"""How far people differ who transcribed the same segments: a floor of a plausible error rate."""

from __future__ import annotations

from habla_ml.corpus.agreement import AnnotatorAgreement
from habla_ml.evaluation.frozen_record import EvaluationRecord


class AnnotatorDifference(EvaluationRecord):
    """The difference of two people's texts under the conventions and the scorer's normalisation."""

    wer: float
    """Word errors per mean length of two texts, as a share of 1."""
    low: float | None
    """Lower end of its 95 % interval over sessions; None for one session."""
    high: float | None
    segments: int
    """Segments that two people transcribed."""

    @classmethod
    def of(cls, agreement: AnnotatorAgreement) -> AnnotatorDifference | None:
        """Return the difference, or None where no segment has two transcripts."""
        if not agreement.comparisons:
            return None
        low, high = agreement.wer.interval or (None, None)
        return cls(wer=agreement.wer.value, low=low, high=high, segments=agreement.segments)
