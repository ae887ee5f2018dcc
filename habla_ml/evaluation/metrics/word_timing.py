"""The errors of a model's word times against manual word times.

Words are matched by aligning the two texts without case and punctuation. Only correctly recognised words have times to
compare, so a score includes their share: a model that recognises one easy word in ten has few times to get wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.alignments import Alignments, get_marked_words
from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs, Reference
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.alignment import match_equal_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.transcription.engine import Hypothesis, RecognisedWord


@dataclass(frozen=True)
class UtteranceTiming:
    """The time errors of the correctly recognised words of one aligned clip; above 0 the model is late."""

    session_id: str
    reference_words: int
    start_errors_ms: NDArray[np.float64]
    """Shape [matched words]."""
    end_errors_ms: NDArray[np.float64]


class EdgeError(EvaluationRecord):
    """The errors of the starts or the ends of words or segments."""

    mean_absolute_ms: float
    p95_ms: float
    bias_ms: float
    """Mean error; above 0 the model is late."""


class WordTimingScore(EvaluationRecord):
    """The word time errors of one model."""

    utterances: int
    """Clips with a manual alignment."""
    reference_words: int
    matched_words: int
    mean_absolute_ms: Interval | None
    """Over starts and ends, with a 95 % interval over sessions, or over the words of a single clip.

    None without matched words, and where nothing shows how the errors vary, as with a single word.
    """
    starts: EdgeError | None
    ends: EdgeError | None


def measure_word_timing(
    references: Sequence[Reference], hypotheses: Mapping[str, Hypothesis], alignments: Alignments
) -> tuple[UtteranceTiming, ...]:
    """Return the time errors of every reference with a manual alignment, by its segment id or its audio.

    Args:
        references: The test set.
        hypotheses: sha256 of the audio → hypothesis of one model, decoded with `word_times`.
        alignments: From `read_alignments`.

    Raises:
        EvaluationError: No hypothesis has word times. One hypothesis without them is too long for the engine to align,
            and matches no word.
    """
    written = [each for each in hypotheses.values() if each.text.strip()]
    if written and not any(each.words for each in written):
        raise EvaluationError(f"none of {len(written)} texts has word times; decode the test set again with word_times")
    timed = []
    for reference in references:
        manual = get_marked_words(alignments, reference.segment_id, reference.audio_sha256)
        if manual is not None:
            timed.append(_measure_utterance(reference.session_id, manual, hypotheses[reference.audio_sha256].words))
    return tuple(timed)


def score_word_timing(timed: Sequence[UtteranceTiming], draws: int, seed: int) -> WordTimingScore:
    """Return the score of one model from the errors of each clip."""
    starts = np.concatenate([np.empty(0), *(each.start_errors_ms for each in timed)])
    ends = np.concatenate([np.empty(0), *(each.end_errors_ms for each in timed)])
    return WordTimingScore(
        utterances=len(timed),
        reference_words=sum(each.reference_words for each in timed),
        matched_words=len(starts),
        mean_absolute_ms=_estimate_mean_absolute_ms(timed, draws, seed),
        starts=summarise_edges(starts),
        ends=summarise_edges(ends),
    )


def _estimate_mean_absolute_ms(timed: Sequence[UtteranceTiming], draws: int, seed: int) -> Interval | None:
    """Return the mean error of all starts and ends, where two draws differ; a time has no upper bound, as a share has."""
    errors_us = [np.rint(1000 * (np.abs(each.start_errors_ms) + np.abs(each.end_errors_ms))) for each in timed]
    sessions = [each.session_id for each in timed]
    if len(timed) == 1:
        errors_us = np.split(errors_us[0], len(errors_us[0])) if len(errors_us[0]) else []
        sessions *= len(errors_us)
    edges = np.array([2 * len(each) for each in errors_us], dtype=np.int64)
    table = Counts(edges, np.array([each.sum() for each in errors_us], dtype=np.int64)[:, None])
    (resample,) = Draws.of(sessions, draws, seed).resample([table])
    per_edge_us = resample.rate(0)
    if per_edge_us is None or np.nanmin(per_edge_us.drawn) == np.nanmax(per_edge_us.drawn):
        return None
    found = replace(per_edge_us, ceiling=np.inf).interval()
    return Interval(found.low / 1000, found.value / 1000, found.high / 1000)


def summarise_edges(errors_ms: NDArray[np.float64]) -> EdgeError | None:
    """Return the summary of errors in ms, shape [edges]; None without any."""
    if not len(errors_ms):
        return None
    absolute = np.abs(errors_ms)
    return EdgeError(
        mean_absolute_ms=float(absolute.mean()),
        p95_ms=float(np.quantile(absolute, 0.95)),
        bias_ms=float(errors_ms.mean()),
    )


def score_word_times(inputs: MetricInputs) -> list[WordTimingScore | None]:
    """Return the score of each model; None without manual alignments, or if the engine gives no word times."""
    return [_score_model(model, inputs) if model.timed else None for model in inputs.models]


def _score_model(model: DecodedModel, inputs: MetricInputs) -> WordTimingScore | None:
    alignments, settings = inputs.measurements.alignments, inputs.settings
    if alignments is None:
        return None
    by_audio = {each.audio_sha256: each for each in model.timed}
    timed = measure_word_timing(inputs.test.references, by_audio, alignments)
    return score_word_timing(timed, settings.bootstrap_draws, settings.seed)


def _measure(inputs: MetricInputs) -> MetricTable:
    return MetricTable([each.mean_absolute_ms if each else None for each in inputs.compute_once(score_word_times)])


WORD_TIMING = Metric(
    "word_timing_ms",
    "word time error",
    "milliseconds",
    _measure,
    help="How far the start and the end of a word are from those that a person marked.",
    acceptable_bound=lambda bounds, _: bounds.word_timing_ms,
)


def _measure_utterance(
    session_id: str, manual: Sequence[RecognisedWord], recognised: Sequence[RecognisedWord]
) -> UtteranceTiming:
    reference, hypothesis = _normalise_words(manual), _normalise_words(recognised)
    matches = match_equal_words([key for key, _ in reference], [key for key, _ in hypothesis])
    pairs = [(reference[at][1], hypothesis[other][1]) for at, other in matches]
    return UtteranceTiming(
        session_id,
        len(reference),
        np.array([1000 * (model.start_s - person.start_s) for person, model in pairs]),
        np.array([1000 * (model.end_s - person.end_s) for person, model in pairs]),
    )


def _normalise_words(words: Sequence[RecognisedWord]) -> list[tuple[str, RecognisedWord]]:
    """Return each word with its normalised form; a single punctuation mark is no word."""
    return [(key, each) for each in words if (key := normalise_spanish(each.text))]
