"""Error rates of several models on the same utterances, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.evaluation.comparison import Rate, Role
from habla_ml.evaluation.scoring import ErrorCounts, total
from habla_ml.evaluation.statistics import Resample, bootstrap_wer, resample_sessions

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings


@dataclass(frozen=True)
class ScoredModel:
    """One model's counts on every utterance of a set, in the order of the set."""

    name: str
    role: Role
    texts: tuple[str, ...]
    words: tuple[ErrorCounts, ...]
    """After the Spanish normaliser."""
    characters: tuple[ErrorCounts, ...]
    orthographic: tuple[ErrorCounts, ...]


def resample_models(
    sessions: Sequence[str], counts: Sequence[Sequence[ErrorCounts]], settings: EvaluationSettings
) -> Resample:
    """Draw sessions for all models at once; `counts` has one row a model, one entry an utterance.

    Where all utterances are of one session, or of a table without sessions, they are drawn one by one: an interval
    of no width would claim certainty.
    """
    units = sessions if len(set(sessions)) > 1 else [str(at) for at in range(len(sessions))]
    errors = np.array([[each.errors for each in row] for row in counts], dtype=np.int64)
    errors = errors.reshape(len(counts), len(sessions)).T
    words = [each.reference_words for each in counts[0]] if counts else []
    return resample_sessions(units, words, errors, settings.bootstrap_draws, settings.seed)


def rate_of(counts: Sequence[ErrorCounts], resample: Resample, model: int) -> Rate:
    """The rate of one model, whose column in `resample` is `model`."""
    return Rate(counts=total(counts), interval=bootstrap_wer(resample, model))
