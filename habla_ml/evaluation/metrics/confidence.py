"""Whether a model's confidence predicts its errors: calibration, and how well it finds the clips with errors.

The confidence of a clip is exp of the average log-probability of its tokens. It is compared with the share of the
written words that are right, in ten bins of equal width, weighted by written words: the expected calibration error of
Naeini et al. (Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015). Few words make that error too
large, by about as much as resampling them adds. This bias is estimated by the bootstrap and subtracted (Efron and
Tibshirani, An introduction to the bootstrap, 1993, chapter 10).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs, Reference, ScoredModel
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_CONFIDENT_SHARE: Final = 0.2
"""Share of the clips that a person could review."""
_BINS: Final = 10
_RANKS: Final = 100
"""Groups of clips with about the same confidence, to order them within each draw."""
_SCALE: Final = 1_000_000
"""Confidences are summed as integers."""


class ConfidenceBin(EvaluationRecord):
    """Clips of about the same confidence."""

    clips: int
    words: int
    """Words that the model wrote."""
    confidence: float
    """Mean over these words, 0…1."""
    accuracy: float
    """Share of these words that are right."""


class ConfidenceScore(EvaluationRecord):
    """The confidence of one model on the test set."""

    clips: int
    """Clips with text and a confidence."""
    bins: tuple[ConfidenceBin, ...]
    """From the least to the most confident; without empty bins."""
    calibration_error: Interval
    """Mean distance between confidence and accuracy, 0…1, corrected for its bias."""
    confidence: float
    """Mean over written words."""
    accuracy: float
    """Share of the written words that are right."""
    error_detection: Interval | None
    """Probability that a clip with an error is less confident than one without (area under the ROC curve): 0.5 is chance.
    None where all clips or no clip has an error."""
    errors_in_least_confident: Interval | None
    """Share of the word errors in the least confident fifth of the clips: 0.2 is chance. None without errors."""


def score_confidence(inputs: MetricInputs) -> list[ConfidenceScore | None]:
    """Score the confidence of every model; None where its engine reports none or it wrote nothing."""
    return [
        _score_model(inputs.test.references, model, scored, inputs.test.draws)
        for model, scored in zip(inputs.models, inputs.test.models, strict=True)
    ]


def _score_model(
    references: Sequence[Reference], model: DecodedModel, scored: ScoredModel, draws: Draws
) -> ConfidenceScore | None:
    found = [model.hypothesis_by_audio[each.audio_sha256].avg_logprob for each in references]
    written = np.array([each.hits + each.substitutions + each.insertions for each in scored.words], dtype=np.int64)
    rows = [at for at, value in enumerate(found) if value is not None and written[at]]
    if not rows:
        return None
    confidence = np.array([math.exp(min(0.0, found[at] or 0.0)) for at in rows])
    hits = np.array([scored.words[at].hits for at in rows], dtype=np.int64)
    errors = np.array([scored.words[at].errors for at in rows], dtype=np.int64)
    return compute_confidence_score(confidence, written[rows], hits, errors, draws, rows)


def compute_confidence_score(
    confidence: NDArray[np.float64],
    written: NDArray[np.int64],
    hits: NDArray[np.int64],
    errors: NDArray[np.int64],
    draws: Draws,
    rows: Sequence[int],
) -> ConfidenceScore:
    """Score the confidences of clips, all arrays of shape [clips].

    Args:
        confidence: In 0…1.
        written: Words that the model wrote, at least 1.
        hits: Written words that are right.
        errors: Substituted, deleted and inserted words.
        draws: Of the sessions of the test set.
        rows: Index of each clip in the test set.
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    sums = np.round(confidence * written * _SCALE).astype(np.int64)
    order = np.searchsorted(np.sort(confidence), confidence)  # equal confidences have one rank
    ranks = order * min(_RANKS, len(order)) // len(order)
    ones = np.ones(len(confidence), dtype=np.int64)
    binned = [_spread(values, bins, _BINS) for values in (ones, written, sums, hits)]
    ranked = [_spread(values, ranks, _RANKS) for values in (ones, errors, (errors > 0).astype(np.int64))]
    (resample,) = draws.resample([Counts(ones, np.column_stack([*binned, *ranked]), np.asarray(rows, dtype=np.intp))])
    observed, drawn = resample.errors[None].astype(np.float64), resample.drawn_errors
    units, split = float(resample.units[0]), 4 * _BINS
    clips, words, total, right = np.split(observed[0, :split], 4)
    return ConfidenceScore(
        clips=len(confidence),
        bins=tuple(
            ConfidenceBin(
                clips=int(clips[at]),
                words=int(words[at]),
                confidence=total[at] / words[at] / _SCALE,
                accuracy=right[at] / words[at],
            )
            for at in range(_BINS)
            if clips[at]
        ),
        calibration_error=_correct_bias(
            _compute_calibration_error(observed[:, :split]), _compute_calibration_error(drawn[:, :split]), units
        ),
        confidence=total.sum() / words.sum() / _SCALE,
        accuracy=right.sum() / words.sum(),
        error_detection=_to_interval(
            _compute_error_detection(observed[:, split:]), _compute_error_detection(drawn[:, split:]), units
        ),
        errors_in_least_confident=_to_interval(
            _compute_least_confident_share(observed[:, split:]), _compute_least_confident_share(drawn[:, split:]), units
        ),
    )


def _spread(values: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return a column for each group with the values of its clips, shape [clips, count]."""
    spread = np.zeros((len(values), count), dtype=np.int64)
    spread[np.arange(len(values)), groups] = values
    return spread


def _compute_calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error of each row of sums, shape [rows]."""
    _, words, total, right = np.split(sums, 4, axis=1)
    return _divide(np.abs(total / _SCALE - right).sum(axis=1), words.sum(axis=1))


def _compute_error_detection(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each row; clips of one rank count as ties."""
    clips, _, wrong = np.split(sums, 3, axis=1)
    right = clips - wrong
    more_confident = right.sum(axis=1, keepdims=True) - np.cumsum(right, axis=1)
    found = (wrong * (more_confident + right / 2)).sum(axis=1)
    return _divide(found, wrong.sum(axis=1) * right.sum(axis=1))


def _compute_least_confident_share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the errors in the least confident clips; the rank at the border counts in part."""
    clips, errors, _ = np.split(sums, 3, axis=1)
    before = np.cumsum(clips, axis=1) - clips
    room = LEAST_CONFIDENT_SHARE * clips.sum(axis=1, keepdims=True) - before
    taken = np.clip(np.divide(room, clips, out=np.zeros_like(clips), where=clips > 0), 0, 1)
    return _divide((taken * errors).sum(axis=1), errors.sum(axis=1))


def _divide(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _correct_bias(value: NDArray[np.float64], drawn: NDArray[np.float64], units: float) -> Interval:
    """Subtract the bias from the value, and twice from the draws, which add it a second time."""
    bias = float(np.nanmean(drawn)) - float(value[0])
    corrected = Estimate(max(0.0, float(value[0]) - bias), drawn - 2 * bias, units, floor=0.0, ceiling=1.0)
    return corrected.interval()


def _to_interval(value: NDArray[np.float64], drawn: NDArray[np.float64], units: float) -> Interval | None:
    if np.isnan(value[0]) or np.isnan(drawn).all():
        return None
    return Estimate(float(value[0]), drawn, units, floor=0.0, ceiling=1.0).interval()
