"""The weekly error rate of the released model on the corrections of the week."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.curve_points import extract_curve_model
from habla_ml.evaluation.scoring.alignment import SCORER_VERSION, score_utterances, sum_counts
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Resample, compute_t_quantile
from habla_ml.lake import Lake, compute_digest
from habla_ml.monitoring.excess import WeeklyMeasurement
from habla_ml.monitoring.fresh_corrections import FreshCorrection
from habla_ml.monitoring.record import WeeklyQuality, WeeklyRate
from habla_ml.review.candidates import find_segments
from habla_ml.review.model_hypotheses import ReleasedModel, decode_candidates
from habla_ml.settings import Settings
from habla_ml.transcription.serving_profiles import build_served_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMAT = "habla_ml.week_of_quality/1"


def measure_weeks(
    lake: Lake,
    fresh: Mapping[str, Sequence[FreshCorrection]],
    known: Mapping[str, WeeklyQuality],
    model: ReleasedModel,
    settings: Settings,
    progress: Callable[[str], None],
) -> tuple[tuple[WeeklyQuality, ...], int]:
    """Return the error rates of each week, and the number of clips that were decoded for them.

    Weeks with unchanged corrections are taken from `known`.

    Raises:
        CorpusError: A day's recordings lack a segment that its text names.
        EvaluationError: The engine failed; finished hypotheses are saved.
    """
    inputs = {week: _digest_inputs(corrections, model, settings) for week, corrections in fresh.items()}
    changed = [week for week in fresh if week not in known or known[week].inputs != inputs[week]]
    segments = find_segments(lake, [(each.day, each.segment_id) for week in changed for each in fresh[week]])
    hypotheses, decoded = decode_candidates(lake, list(segments.values()), model, settings, progress)
    texts = {segment_id: each.text for segment_id, each in hypotheses.items()}
    weeks = tuple(
        _measure_week(week, inputs[week], corrections, texts, settings) if week in changed else known[week]
        for week, corrections in fresh.items()
    )
    return weeks, decoded


def compute_log_rate(resample: Resample) -> tuple[float, float]:
    """Return the logarithm of the first model's error rate, and its standard error over the drawn sessions.

    Half an error is added, so that a week without errors has a logarithm. The standard error is corrected for few
    sessions.
    """
    value = math.log((int(resample.errors[0]) + 0.5) / resample.words)
    has_words = resample.drawn_words > 0
    drawn: NDArray[np.float64] = np.log((resample.drawn_errors[has_words, 0] + 0.5) / resample.drawn_words[has_words])
    units = max(float(resample.units[0]), 2.0)
    return value, float(np.std(drawn) * math.sqrt(units / (units - 1)))


def measure_test_set(comparison: Comparison) -> tuple[ErrorRate, WeeklyMeasurement]:
    """Return the release's error rate on its own test set, and its logarithm measured as that of a week, from its evidence.

    The standard error is over the drawn sessions or speakers, of which one with most of the words is not many. Where there is
    a single one, it is over its sentences.

    Raises:
        EvaluationError: The evidence has no error rate of the candidate.
    """
    candidate = comparison.model("candidate")
    if candidate is None or candidate.wer.interval is None or candidate.wer.value is None:
        raise EvaluationError(
            "the evidence of the released version has no error rate on a test set; materialise `wer_report` for it"
        )
    least = 0.5 / candidate.wer.counts.reference_words
    value = max(candidate.wer.value, least)
    by_unit, method = extract_curve_model(comparison, candidate.name, 0.0).counts, comparison.method
    if len(by_unit) > 1:
        words = np.array([each.reference_words for each in by_unit.values()], dtype=np.int64)
        errors = np.array([[each.errors] for each in by_unit.values()], dtype=np.int64)
        draws = Draws.of(list(by_unit), method.bootstrap_draws, method.seed)
        (resample,) = draws.resample([Counts(words, errors)])
        error, units = compute_log_rate(resample)[1], float(resample.units[0])
    else:
        quantile = compute_t_quantile(0.975, max(2, comparison.test.utterances) - 1)
        error, units = math.log(max(candidate.wer.interval.high, least) / value) / quantile, 1.0
    return candidate.wer, WeeklyMeasurement("", math.log(value), error, units)


def explain_incomparable(comparison: Comparison, model: ReleasedModel, settings: Settings) -> str | None:
    """Return why no week is comparable with the release's own test set, or None."""
    candidate = comparison.model("candidate")
    now = [
        ("scorer", comparison.method.scorer, SCORER_VERSION),
        ("decoding", None if candidate is None else candidate.decoding, build_served_options(settings.evaluation)),
        ("artefact", None if candidate is None else candidate.artefact_digest, model.artefact),
    ]
    others = [name for name, then, present in now if then != present]
    if not others:
        return None
    return f"the release was measured with another {' and '.join(others)}; materialise `wer_report` for it again"


def _digest_inputs(corrections: Sequence[FreshCorrection], model: ReleasedModel, settings: Settings) -> str:
    """Return a digest of everything that a week's figures depend on, shortened so that it names no object."""
    options, evaluation = build_served_options(settings.evaluation), settings.evaluation
    rows = [[each.segment_id, each.sentence, each.is_uncertain, each.conventions] for each in corrections]
    method = [_FORMAT, model.artefact, options.digest(), SCORER_VERSION, evaluation.bootstrap_draws, evaluation.seed]
    return compute_digest([method, rows])[:32]


def _measure_week(
    week: str, inputs: str, corrections: Sequence[FreshCorrection], texts: Mapping[str, str], settings: Settings
) -> WeeklyQuality:
    corrections = [each for each in corrections if each.segment_id in texts]
    conventions = {each.conventions for each in corrections}
    return WeeklyQuality(
        week=week,
        inputs=inputs,
        representative=_compute_weekly_rate([each for each in corrections if not each.is_uncertain], texts, settings),
        uncertain=_compute_weekly_rate([each for each in corrections if each.is_uncertain], texts, settings),
        conventions=conventions.pop() if len(conventions) == 1 else None,
    )


def _compute_weekly_rate(
    corrections: Sequence[FreshCorrection], texts: Mapping[str, str], settings: Settings
) -> WeeklyRate | None:
    """Return the error rate of the corrections; None where they have no words."""
    references = [each.sentence for each in corrections]
    scores = score_utterances(references, [texts[each.segment_id] for each in corrections], normalise_spanish)
    counts = [each.words for each in scores]
    words = np.array([each.reference_words for each in counts], dtype=np.int64)
    if not words.sum():
        return None
    sessions = [each.session_id for each in corrections]
    errors = np.array([[each.errors] for each in counts], dtype=np.int64)
    draws = Draws.of(sessions, settings.evaluation.bootstrap_draws, settings.evaluation.seed)
    (resample,) = draws.resample([Counts(words, errors)])
    figure = resample.rate(0)
    return WeeklyRate(
        segments=len(corrections),
        sessions=len(set(sessions)),
        rate=ErrorRate(counts=sum_counts(counts), interval=None if figure is None else figure.interval()),
        log_standard_error=compute_log_rate(resample)[1],
        units=float(resample.units[0]),
    )
