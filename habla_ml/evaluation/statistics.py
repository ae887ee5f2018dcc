"""How sure a figure is: the paired bootstrap over sessions.

Utterances of one session share a room, a microphone and voices, so they are not independent; sessions are drawn
instead, with replacement, and every model is scored on the same draw (Bisani and Ney, Bootstrap estimates for
confidence intervals in ASR performance evaluation, ICASSP 2004). Only counts are drawn, never strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % percentile interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Resample:
    """Totals over the sessions as they are, and over each bootstrap draw of them."""

    words: int
    errors: NDArray[np.int64]
    """Errors of each model over all sessions, shape [models]."""
    drawn_words: NDArray[np.float64]
    """Reference words in each draw, shape [draws]; draws without a word were left out."""
    drawn_errors: NDArray[np.float64]
    """Errors of each model in each draw, shape [draws, models]."""


def resample_sessions(
    sessions: Sequence[str], words: Sequence[int], errors: NDArray[np.int64], draws: int, seed: int
) -> Resample:
    """Draw whole sessions with replacement, `draws` times.

    Args:
        sessions: The session of each utterance.
        words: Reference words (or characters) of each utterance.
        errors: S + D + I of each utterance and model, shape [utterances, models].
        draws: Number of bootstrap draws.
        seed: Same seed and sessions, same draws: figures of different models stay paired.

    Raises:
        EvaluationError: The three describe different numbers of utterances.
    """
    if not len(sessions) == len(words) == len(errors):
        raise EvaluationError(
            f"{len(sessions)} sessions, {len(words)} word counts and {len(errors)} error counts do not describe "
            "the same utterances; pass one of each for every utterance"
        )
    names, index = np.unique(np.asarray(sessions, dtype=object).astype(str), return_inverse=True)
    columns = np.column_stack([np.asarray(words, dtype=np.int64), errors]) if len(words) else errors[:, :0]
    by_session = np.zeros((len(names), columns.shape[1]), dtype=np.float64)
    np.add.at(by_session, index, columns)
    if not len(names) or not by_session[:, 0].any():
        models = errors.shape[1]
        return Resample(0, errors.sum(axis=0), np.empty(0), np.empty((0, models)))
    totals = _draw_totals(by_session, draws, seed)
    totals = totals[totals[:, 0] > 0]
    observed = by_session.sum(axis=0).astype(np.int64)
    return Resample(int(observed[0]), observed[1:], totals[:, 0], totals[:, 1:])


def bootstrap_wer(resample: Resample, model: int = 0) -> Interval | None:
    """The error rate of a model; None where there is no reference word."""
    if not resample.words:
        return None
    return _interval(
        resample.errors[model] / resample.words, resample.drawn_errors[:, model] / resample.drawn_words
    )


def paired_relative_improvement(resample: Resample, before: int, after: int) -> Interval | None:
    """The share of the errors of model `before` that model `after` no longer makes: 0.4 is 40 % fewer.

    Where `before` makes no error it is counted as one, so that any error of `after` is a loss and none is a tie.
    None where there is no reference word.
    """
    if not resample.words:
        return None
    old, new = resample.errors[before], resample.errors[after]
    drawn_old, drawn_new = resample.drawn_errors[:, before], resample.drawn_errors[:, after]
    return _interval((old - new) / max(old, 1), (drawn_old - drawn_new) / np.maximum(drawn_old, 1))


def paired_point_change(resample: Resample, before: int, after: int) -> Interval | None:
    """Error rate of `after` minus that of `before`, in points (× 100): positive is worse.

    None where there is no reference word.
    """
    if not resample.words:
        return None
    change = 100 * (resample.errors[after] - resample.errors[before]) / resample.words
    drawn = 100 * (resample.drawn_errors[:, after] - resample.drawn_errors[:, before]) / resample.drawn_words
    return _interval(change, drawn)


def _draw_totals(by_session: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Column totals of each draw, shape [draws, columns]; memory is bounded whatever the sessions."""
    n = len(by_session)
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // n)
    parts = []
    for start in range(0, draws, step):
        times = generator.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start))
        parts.append(times.astype(np.float64) @ by_session)
    return np.concatenate(parts)


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(value), float(high))
