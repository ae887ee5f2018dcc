"""Error rates of several models on the same utterances, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from habla_ml.evaluation.comparison.records import ErrorRate, ModelRole
from habla_ml.evaluation.scoring.alignment import ErrorCounts, sum_counts
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Resample, to_interval

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings


@dataclass(frozen=True)
class ScoredModel:
    """One model's counts on every utterance of a set, in the order of the set."""

    name: str
    role: ModelRole
    texts: tuple[str, ...]
    words: tuple[ErrorCounts, ...]
    """After the Spanish normaliser."""
    characters: tuple[ErrorCounts, ...]
    orthographic: tuple[ErrorCounts, ...]


def make_draws(units: Sequence[str], settings: EvaluationSettings) -> Draws:
    """The draws of a set, for every figure of it; `units` has the session or speaker of each utterance."""
    return Draws.of(units, settings.bootstrap_draws, settings.seed)


ErrorKind = Literal["errors", "substitutions", "deletions", "insertions"]


def stack_counts(counts: Sequence[Sequence[ErrorCounts]], kind: ErrorKind = "errors") -> Counts:
    """The counts of all models to be drawn together; one row a model, one entry an utterance."""
    errors = np.array([[getattr(each, kind) for each in row] for row in counts], dtype=np.int64)
    words = np.array([each.reference_words for each in counts[0]] if counts else [], dtype=np.int64)
    return Counts(words, errors.reshape(len(counts), len(words)).T)


def compute_rate(counts: Sequence[ErrorCounts], resample: Resample, model: int) -> ErrorRate:
    """The rate of one model, whose column in `resample` is `model`."""
    return ErrorRate(counts=sum_counts(counts), interval=to_interval(resample.rate(model)))
