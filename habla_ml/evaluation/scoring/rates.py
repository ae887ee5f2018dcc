"""Error rates of several models on the same utterances, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.alignment import ErrorCounts, sum_counts
from habla_ml.evaluation.scoring.statistics import Counts, Interval, Resample, to_interval


class ErrorRate(EvaluationRecord):
    """An error rate with its counts; `interval` is None without reference words."""

    counts: ErrorCounts
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """The rate as a share of 1."""
        return self.counts.wer


def format_percent(share: float, digits: int = 0) -> str:
    """Return `0.123` as `12 %`, with a non-breaking space."""
    return f"{100 * share:.{digits}f}\u00a0%"


def format_percent_beside(share: float, bound: float, fewest_digits: int = 0) -> str:
    """Return a percentage with the digits that it takes to differ from its bound: `19.8 %` beside 20 %."""
    needed = (each for each in range(fewest_digits, 4) if round(100 * share, each) != round(100 * bound, each))
    digits = next(needed, fewest_digits)
    return format_percent(share, digits)


def format_bound(bound: float) -> str:
    """Return a bound of the settings with all its digits: `20 %`, `12.5 %`."""
    return f"{100 * bound:.6g}\u00a0%"


ErrorKind = Literal["errors", "substitutions", "deletions", "insertions"]


def stack_counts(counts: Sequence[Sequence[ErrorCounts]], kind: ErrorKind = "errors") -> Counts:
    """Return the counts of all models for a resampling; `counts` has a row for each model."""
    errors = np.array([[getattr(each, kind) for each in row] for row in counts], dtype=np.int64)
    words = np.array([each.reference_words for each in counts[0]] if counts else [], dtype=np.int64)
    return Counts(words, errors.reshape(len(counts), len(words)).T)


def compute_rate(counts: Sequence[ErrorCounts], resample: Resample, model: int) -> ErrorRate:
    """Return the rate of one model; `model` is its column in `resample`."""
    return ErrorRate(counts=sum_counts(counts), interval=to_interval(resample.rate(model)))
