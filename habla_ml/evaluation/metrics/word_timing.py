"""How far a model's word times lie from manual ones.

Words are matched by aligning the two texts, case and punctuation aside; only words heard right have times to compare.
How many those are is part of the figure: a model that hears one easy word in ten has little to be late with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.alignments import Alignments, is_aligned
from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs, Reference
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.transcription.engine import Hypothesis, RecognisedWord


@dataclass(frozen=True)
class UtteranceTiming:
    """The words of one aligned clip that were heard right: how much later the model has them, negative is earlier."""

    session_id: str
    reference_words: int
    start_errors_ms: NDArray[np.float64]
    """Shape [matched words]."""
    end_errors_ms: NDArray[np.float64]


class EdgeError(EvaluationRecord):
    """Errors of word starts, or of word ends, in ms."""

    mean_absolute_ms: float
    p95_ms: float
    """95 % of the edges lie within it."""
    bias_ms: float
    """Mean error; above 0 the model is late."""


class WordTimingScore(EvaluationRecord):
    """One model's word times against the manual ones."""

    utterances: int
    """Clips with a manual alignment."""
    reference_words: int
    matched_words: int
    mean_absolute_ms: Interval | None
    """Over starts and ends, with a 95 % interval over sessions; None where no word was matched."""
    starts: EdgeError | None
    ends: EdgeError | None

    @property
    def matched_share(self) -> float | None:
        """Share of the aligned words that could be compared; None where there are none."""
        return self.matched_words / self.reference_words if self.reference_words else None


def measure_word_timing(
    references: Sequence[Reference], hypotheses: Sequence[Hypothesis], alignments: Alignments
) -> tuple[UtteranceTiming, ...]:
    """The time errors of every reference that has a manual alignment, by its segment id or its sound.

    Args:
        references: The test set.
        hypotheses: What one model heard, one for each; decoded with `word_times`.
        alignments: From `read_alignments`; clips of other sets are left out.

    Raises:
        EvaluationError: The lists differ in length, or no text has word times. A single text without them, too long
            for the engine to align, matches no word.
    """
    if len(references) != len(hypotheses):
        raise EvaluationError(f"{len(references)} references and {len(hypotheses)} hypotheses cannot be paired")
    written = [each for each in hypotheses if each.text.strip()]
    if written and not any(each.words for each in written):
        raise EvaluationError(f"none of {len(written)} texts has word times; decode the test set again with word_times")
    timed = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        manual = alignments.get(reference.segment_id) or alignments.get(reference.audio_sha256)
        if manual is not None:
            timed.append(_measure_utterance(reference.session_id, manual, hypothesis.words))
    return tuple(timed)


def score_word_timing(timed: Sequence[UtteranceTiming], draws: int, seed: int) -> WordTimingScore:
    """One model's figures from the errors of each clip."""
    starts = np.concatenate([np.empty(0), *(each.start_errors_ms for each in timed)])
    ends = np.concatenate([np.empty(0), *(each.end_errors_ms for each in timed)])
    edges = np.array([2 * len(each.start_errors_ms) for each in timed], dtype=np.int64)
    errors_us = [1000 * (np.abs(each.start_errors_ms).sum() + np.abs(each.end_errors_ms).sum()) for each in timed]
    table = Counts(edges, np.rint(np.array(errors_us, dtype=np.float64)).astype(np.int64)[:, None])
    (resample,) = Draws.of([each.session_id for each in timed], draws, seed).resample([table])
    rate = resample.rate(0)
    per_edge_us = None if rate is None else rate.interval()
    return WordTimingScore(
        utterances=len(timed),
        reference_words=sum(each.reference_words for each in timed),
        matched_words=len(starts),
        mean_absolute_ms=per_edge_us
        and Interval(per_edge_us.low / 1000, per_edge_us.value / 1000, per_edge_us.high / 1000),
        starts=_summarise_edges(starts),
        ends=_summarise_edges(ends),
    )


def score_word_times(inputs: MetricInputs) -> list[WordTimingScore | None]:
    """Return each model's figures; None without manual alignments, or where the engine gives no word times."""
    alignments = inputs.measurements.alignments
    if alignments is None:
        return [None] * len(inputs.models)
    return [_score_model(model, inputs, alignments) if model.timed else None for model in inputs.models]


def _score_model(model: DecodedModel, inputs: MetricInputs, alignments: Alignments) -> WordTimingScore:
    by_audio, settings = {each.audio_sha256: each for each in model.timed}, inputs.settings
    aligned = [each for each in inputs.test.references if is_aligned(alignments, each.segment_id, each.audio_sha256)]
    timed = measure_word_timing(aligned, [by_audio[each.audio_sha256] for each in aligned], alignments)
    return score_word_timing(timed, settings.bootstrap_draws, settings.seed)


def _measure(inputs: MetricInputs) -> MetricTable:
    return MetricTable([each.mean_absolute_ms if each else None for each in inputs.compute_once(score_word_times)])


WORD_TIMING = Metric(
    "word_timing_ms",
    "word time error",
    "milliseconds",
    _measure,
    acceptable_bound=lambda bounds, _: bounds.word_timing_ms,
)


def _measure_utterance(
    session_id: str, manual: Sequence[RecognisedWord], heard: Sequence[RecognisedWord]
) -> UtteranceTiming:
    import jiwer

    said, written = _key_words(manual), _key_words(heard)
    chunks = jiwer.process_words(" ".join(key for key, _ in said), " ".join(key for key, _ in written)).alignments[0]
    pairs = [
        (said[chunk.ref_start_idx + at][1], written[chunk.hyp_start_idx + at][1])
        for chunk in chunks
        if chunk.type == "equal"
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return UtteranceTiming(
        session_id,
        len(said),
        np.array([1000 * (model.start_s - person.start_s) for person, model in pairs]),
        np.array([1000 * (model.end_s - person.end_s) for person, model in pairs]),
    )


def _key_words(words: Sequence[RecognisedWord]) -> list[tuple[str, RecognisedWord]]:
    """Each word with what it is aligned by; a lone punctuation mark is no word."""
    return [(key.replace(" ", "_"), each) for each in words if (key := normalise_spanish(each.text))]


def _summarise_edges(errors_ms: NDArray[np.float64]) -> EdgeError | None:
    if not len(errors_ms):
        return None
    absolute = np.abs(errors_ms)
    return EdgeError(
        mean_absolute_ms=float(absolute.mean()),
        p95_ms=float(np.quantile(absolute, 0.95)),
        bias_ms=float(errors_ms.mean()),
    )
