"""How far people differ who transcribed the same segments: a floor of a plausible error rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from habla_ml.corpus.agreement import AnnotatorAgreement, measure_agreement
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, to_interval

if TYPE_CHECKING:
    import pyarrow as pa

    from habla_ml.corpus.conventions import Conventions
    from habla_ml.lake import Lake
    from habla_ml.settings import EvaluationSettings


class AnnotatorDifference(EvaluationRecord):
    """The difference of two people's texts under the conventions and the scorer's normalisation."""

    wer: float
    """Word errors per mean length of two texts, as a share of 1."""
    low: float | None
    """Lower end of its 95 % interval over sessions; None for one session."""
    high: float | None
    segments: int
    """Segments that two people transcribed."""
    sessions: int = 0
    is_blind: bool = False
    """Whether both people typed without a text in view. A person who saw a text agrees with it more easily, so that the
    difference is then too small."""

    @classmethod
    def of(
        cls, agreement: AnnotatorAgreement, settings: EvaluationSettings, is_blind: bool
    ) -> AnnotatorDifference | None:
        """Return the difference with its interval, or None where no segment has two transcripts."""
        if not agreement.comparisons:
            return None
        interval = _compute_interval(agreement.by_session, settings)
        return cls(
            wer=agreement.wer.value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            segments=agreement.segments,
            sessions=agreement.sessions,
            is_blind=is_blind,
        )


def measure_annotator_difference(
    lake: Lake, conventions: Conventions, settings: EvaluationSettings
) -> AnnotatorDifference | None:
    """Return the difference over blind texts, or over all texts where no segment has two blind ones."""
    for is_blind in (True, False):
        agreement = measure_agreement(lake, conventions, normalise_spanish_pair, only_blind=is_blind)
        if (found := AnnotatorDifference.of(agreement, settings, is_blind)) is not None:
            return found
    return None


def _compute_interval(sessions: pa.Table, settings: EvaluationSettings) -> Interval | None:
    """Return the interval of the rate, by the bootstrap of the error rates; None for one session.

    Lengths are means of two texts, so both sums are doubled to be whole numbers.
    """
    if sessions.num_rows < 2:
        return None
    words = np.rint(2 * sessions["words"].to_numpy()).astype(np.int64)
    errors = 2 * sessions["word_errors"].to_numpy().reshape(-1, 1)
    draws = Draws(np.arange(len(words)), settings.bootstrap_draws, settings.seed)
    [resample] = draws.resample([Counts(words, errors)])
    return to_interval(resample.rate(0))
