"""Test sets with a known truth: sessions that differ in difficulty, models that differ in luck, errors that cluster."""

from dataclasses import dataclass

import numpy as np

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.comparison.superiority import measure_superiority
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Resample, to_interval


@dataclass(frozen=True)
class ErrorSimulation:
    """What a simulated test set is drawn from.

    The defaults are those of the demo's classroom: WER, words and clustering as the base model gave them on 20 lessons
    of it. A spread between those lessons could not be distinguished from none; the spread of a model was not measured and is
    what an interval as wide as that of the demo's first version takes.
    """

    base_wer: float = 0.46
    session_spread: float = 0.10
    """Standard deviation of the log of a session's difficulty, shared by all models."""
    model_spread: float = 0.20
    """Standard deviation of the log of what one session does to one model more than to another."""
    words_per_session: int = 95
    words_spread: float = 0.12
    """Standard deviation of the log of a session's number of words."""
    words_per_utterance: float = 7.9
    clustering: float = 0.32
    """Correlation of the errors within an utterance."""
    shared: float = 0.5
    """Correlation of the noise of two models on one utterance: what is hard is hard for both."""
    shared_by_week: float = 0.0
    """Share of the variance over sessions, of difficulty and of each model, that the sessions of a week have in common."""
    sessions_per_week: int = 4


def draw_test_set(
    error_model: ErrorSimulation, sessions: int, improvements: tuple[float, ...], rng: np.random.Generator
) -> tuple[list[str], Counts]:
    """Sessions and counts of a base and of one model for each true relative improvement over it.

    Words of a session are log-normal; each utterance of a session has its own difficulty, partly common to the
    models, so that errors are over-dispersed; they are Poisson given that. True improvements hold for the means.
    """
    size = np.maximum(6, rng.lognormal(np.log(error_model.words_per_session), error_model.words_spread, sessions))
    names, words = [], []
    for session, expected in enumerate(size):
        lengths = 1 + rng.poisson(
            error_model.words_per_utterance - 1, max(1, round(expected / error_model.words_per_utterance))
        )
        names += [session] * len(lengths)
        words.append(lengths)
    index, spoken = np.array(names), np.concatenate(words)
    difficulty = _draw_session_factors(error_model, error_model.session_spread, sessions, rng)[index]
    # Var of the log such that the errors of an utterance correlate by `clustering` at the base's rate.
    spread = np.sqrt(np.log1p(error_model.clustering * (1 - error_model.base_wer) / error_model.base_wer))
    common = _draw_lognormal_factors(spread * np.sqrt(error_model.shared), len(spoken), rng)
    errors = []
    for improvement in (0.0, *improvements):
        own = _draw_session_factors(error_model, error_model.model_spread, sessions, rng)[index]
        own *= _draw_lognormal_factors(spread * np.sqrt(1 - error_model.shared), len(spoken), rng)
        rate = error_model.base_wer * (1 - improvement) * difficulty * common * own
        errors.append(rng.poisson(rate * spoken))
    return [str(each) for each in index], Counts(spoken.astype(np.int64), np.column_stack(errors).astype(np.int64))


def resample_counts(names: list[str], counts: Counts, draws: int, seed: int) -> Resample:
    """The counts on their draws."""
    return Draws.of(names, draws, seed).resample([counts])[0]


def make_simulated_comparison(
    measured: Comparison, resample: Resample, sessions: int, candidate: int = 1, release: int | None = None
) -> Comparison:
    """`measured` with the figures of a simulated base (column 0), a release and the column that is the candidate."""
    first = measured.changes[0]
    changes = [_make_change(first, resample, 0, candidate)]
    if release is not None:
        previous = first.model_copy(update={"against": "v1", "role": "previous"})
        changes.append(_make_change(previous, resample, release, candidate))
    test = measured.test.model_copy(update={"sessions": sessions, "words": resample.words})
    return measured.model_copy(update={"changes": tuple(changes), "test": test})


def _make_change(like: Change, resample: Resample, before: int, after: int) -> Change:
    points = resample.point_change(before, after)
    assert points is not None
    return like.model_copy(
        update={
            "relative_improvement": to_interval(resample.relative_improvement(before, after)),
            "metrics": {"wer": points.interval()},
            "superiority": measure_superiority(points),
            "slices": (),
        }
    )


def _draw_session_factors(
    error_model: ErrorSimulation, spread: float, sessions: int, rng: np.random.Generator
) -> np.ndarray:
    """Factors of mean 1 for each session, of which those of a week have a part in common."""
    shared = error_model.shared_by_week
    own = _draw_lognormal_factors(spread * np.sqrt(1 - shared), sessions, rng)
    if shared == 0:
        return own
    week = np.arange(sessions) // error_model.sessions_per_week
    return own * _draw_lognormal_factors(spread * np.sqrt(shared), int(week.max()) + 1, rng)[week]


def _draw_lognormal_factors(spread: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Factors of mean 1."""
    return np.exp(rng.normal(0, spread, size) - spread**2 / 2)
