"""Hallucination: text in clips without speech, and text in speech that no speaker produced.

WER hides it: an invented sentence counts as much as a few misrecognised words, and a clip without speech has no
reference words. Output is a word after the Spanish normaliser, so `[Música]` and a single full stop are no output.
`hallucination_detection` defines loops and stock phrases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.hallucination_detection import (
    NonSpeechFinding,
    SpeechFinding,
    find_non_speech_hallucinations,
    find_speech_hallucinations,
)
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable, ReleaseGuard, compute_differences
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, Resample, compute_share_bounds, to_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EVIDENCE_PER_KIND: Final = 20
"""The counts include all."""
_MAX_EVIDENCE_CHARS: Final = 300


class CountShare(EvaluationRecord):
    """A share as counts.

    The interval covers both the bootstrap interval over sessions (or kinds of sound) and the exact one of the effective
    number of clips, because few clips count and a bootstrap of rare events is too narrow. None without clips.
    """

    count: int
    of: int
    interval: Interval | None


class NonSpeechKind(EvaluationRecord):
    """Results for one kind of clips without speech."""

    kind: str
    with_output: CountShare
    words: int
    duration_s: float


EvidenceKind = Literal["non_speech", "short_insertion", "loop", "compression", "stock_phrase"]


class HallucinationEvidence(EvaluationRecord):
    """One text that was counted."""

    of: EvidenceKind
    clip_id: str
    """A segment id, or the id of a clip without speech."""
    text: str
    detail: str
    """A short description of the finding."""


class HallucinationScore(EvaluationRecord):
    """The hallucinations of one model."""

    non_speech_digest: str
    """Of the clips without speech; scores are comparable only on the same clips."""
    non_speech: CountShare
    """Clips without speech with output."""
    non_speech_words_per_minute: Interval | None
    non_speech_stopped: int
    """Clips without speech on which decoding timed out or crashed."""
    kinds: tuple[NonSpeechKind, ...]
    short_insertions_per_word: Interval | None
    """Inserted words per reference word, in short clips."""
    short_insertions_per_clip: float | None
    short_with_insertion: CountShare
    """Short clips with an inserted word."""
    loops: CountShare
    """Utterances with a loop."""
    compressed: CountShare
    """Utterances with a too repetitive text, by its compression ratio."""
    stock_phrases: CountShare
    """Utterances with a stock phrase that is not in the reference."""
    invented: CountShare
    """Utterances with any of the last three."""
    evidence: tuple[HallucinationEvidence, ...]


@dataclass(frozen=True)
class ModelHallucinations:
    """The findings of one model; all models decode the same clips."""

    speech: Sequence[SpeechFinding]
    non_speech: Sequence[NonSpeechFinding]


@dataclass(frozen=True)
class HallucinationResamples:
    """The counts of all models on the same draws; one column for each model."""

    non_speech: Resample
    short_insertions: Resample
    invented: Resample


def find_hallucinations(inputs: MetricInputs) -> list[ModelHallucinations] | None:
    """Find the hallucinations of each model on the test set and on clips without speech; None without such clips."""
    clips = inputs.measurements.non_speech
    if clips is None or not clips.clips:
        return None
    return [
        ModelHallucinations(
            find_speech_hallucinations(inputs.test.references, scored.texts, scored.words, inputs.settings),
            find_non_speech_hallucinations(clips.clips, {each.audio_sha256: each for each in decoded.non_speech}),
        )
        for decoded, scored in zip(inputs.models, inputs.test.models, strict=True)
    ]


def score_hallucinations(inputs: MetricInputs) -> list[HallucinationScore | None]:
    """Return the score of each model; None without clips without speech."""
    found, clips = inputs.compute_once(find_hallucinations), inputs.measurements.non_speech
    if found is None or clips is None:
        return [None] * len(inputs.models)
    draws, seed = inputs.settings.bootstrap_draws, inputs.settings.seed
    return [score_hallucination(each, clips.digest, draws, seed) for each in found]


def resample_hallucinations(found: Sequence[ModelHallucinations], draws: int, seed: int) -> HallucinationResamples:
    """Draw the findings of several models: speech by session, clips without speech by kind of sound."""
    invented = _stack_columns([[each.is_invented for each in model.speech] for model in found])
    short_insertions, texts = Draws.of([each.session_id for each in found[0].speech], draws, seed).resample(
        [
            _count_short_insertions([model.speech for model in found]),
            Counts(np.ones(len(invented), np.int64), invented),
        ]
    )
    output = _stack_columns([[each.has_output for each in model.non_speech] for model in found])
    (clips,) = Draws.of([each.clip.group for each in found[0].non_speech], draws, seed).resample(
        [Counts(np.ones(len(output), np.int64), output)]
    )
    return HallucinationResamples(clips, short_insertions, texts)


def _resample_inputs(inputs: MetricInputs) -> HallucinationResamples | None:
    found, settings = inputs.compute_once(find_hallucinations), inputs.settings
    return None if found is None else resample_hallucinations(found, settings.bootstrap_draws, settings.seed)


def _measure(
    get_value: Callable[[HallucinationScore], Interval | None],
    get_resample: Callable[[HallucinationResamples], Resample],
) -> Callable[[MetricInputs], MetricTable]:
    def measure(inputs: MetricInputs) -> MetricTable:
        resamples = inputs.compute_once(_resample_inputs)
        return MetricTable(
            [get_value(each) if each else None for each in inputs.compute_once(score_hallucinations)],
            compute_differences(get_resample(resamples), inputs.pairs) if resamples else {},
        )

    return measure


NON_SPEECH_OUTPUT = Metric(
    "non_speech_output",
    "output without speech",
    "share",
    _measure(lambda score: score.non_speech.interval, lambda drawn: drawn.non_speech),
    help="Clips without speech, such as noise or silence, in which it writes words.",
    guard=ReleaseGuard(
        lambda settings: settings.non_speech_loss_points,
        "writes text in more clips without speech",
        "of these clips",
    ),
)
SHORT_INSERTIONS = Metric(
    "short_insertions",
    "inserted words in short clips",
    "share",
    _measure(lambda score: score.short_insertions_per_word, lambda drawn: drawn.short_insertions),
    help="Words that were not spoken, for each word of clips under two seconds.",
)
INVENTED_TEXTS = Metric(
    "invented_texts",
    "invented texts",
    "share",
    _measure(lambda score: score.invented.interval, lambda drawn: drawn.invented),
    help="Clips with a repeated phrase or a stock phrase of films that was not spoken.",
    guard=ReleaseGuard(
        lambda settings: settings.invented_loss_points,
        "invents more text (loops, stock phrases)",
        "of the clips",
    ),
)


def score_hallucination(
    found: ModelHallucinations, non_speech_digest: str, draws: int, seed: int
) -> HallucinationScore:
    """Return the score of one model with 95 % intervals.

    Args:
        found: The findings of the model.
        non_speech_digest: Of the set of clips without speech.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    speech, non_speech = found.speech, found.non_speech
    short = np.flatnonzero([each.short_words is not None for each in speech])
    inserted = np.array([each.insertions for each in speech], dtype=np.int64)[short]
    events = [
        [bool(each.loops), each.is_compressed, each.stock_phrase is not None, each.is_invented] for each in speech
    ]
    per_word, with_insertion, by_event = Draws.of([each.session_id for each in speech], draws, seed).resample(
        [
            _count_short_insertions([speech]),
            Counts(np.ones_like(short), (inserted > 0).astype(np.int64)[:, None], short),
            Counts(np.ones(len(speech), np.int64), np.array(events, np.int64).reshape(-1, 4)),
        ]
    )
    loops, compressed, stock_phrases, invented = (_make_share(by_event, at) for at in range(4))
    return HallucinationScore(
        **_score_non_speech(non_speech, draws, seed),
        non_speech_digest=non_speech_digest,
        non_speech_stopped=sum(each.is_stopped for each in non_speech),
        short_insertions_per_word=to_interval(per_word.rate(0)),
        short_insertions_per_clip=int(inserted.sum()) / len(short) if len(short) else None,
        short_with_insertion=_make_share(with_insertion, 0),
        loops=loops,
        compressed=compressed,
        stock_phrases=stock_phrases,
        invented=invented,
        evidence=_collect_evidence(speech, non_speech),
    )


def _score_non_speech(found: Sequence[NonSpeechFinding], draws: int, seed: int) -> dict[str, Any]:
    """Return the fields of `HallucinationScore` that depend on clips without speech only."""
    ones = np.ones(len(found), np.int64)
    output = _stack_columns([[each.has_output for each in found]])
    words = _stack_columns([[each.words for each in found]])
    lengths_ms = np.array([round(1000 * each.clip.duration_s) for each in found], dtype=np.int64)
    kinds = sorted({each.clip.kind for each in found})
    rows = [np.flatnonzero([each.clip.kind == kind for each in found]) for kind in kinds]
    whole, per_ms, *by_kind = Draws.of([each.clip.group for each in found], draws, seed).resample(
        [
            Counts(ones, output),
            Counts(lengths_ms, words),
            *(Counts(ones[chosen], output[chosen], chosen) for chosen in rows),
        ]
    )
    per_ms_rate = per_ms.rate(0)
    # The clips are the independent trials, not their milliseconds.
    trials = per_ms.words * whole.trials / max(whole.words, 1)
    rate = to_interval(per_ms_rate and replace(per_ms_rate, trials=trials))
    minute_ms = 60_000
    return {
        "non_speech": _make_share(whole, 0),
        "non_speech_words_per_minute": rate
        and Interval(minute_ms * rate.low, minute_ms * rate.value, minute_ms * rate.high),
        "kinds": tuple(
            NonSpeechKind(
                kind=kind,
                with_output=_make_share(resample, 0),
                words=int(words[chosen].sum()),
                duration_s=round(int(lengths_ms[chosen].sum()) / 1000, 3),
            )
            for kind, chosen, resample in zip(kinds, rows, by_kind, strict=True)
        ),
    }


def _count_short_insertions(models: Sequence[Sequence[SpeechFinding]]) -> Counts:
    """Count the insertions of each model over the reference words of the short clips."""
    words = [each.short_words for each in models[0]]
    short = np.flatnonzero([each is not None for each in words])
    inserted = _stack_columns([[each.insertions for each in model] for model in models])
    return Counts(np.array([each or 0 for each in words], np.int64)[short], inserted[short], short)


def _stack_columns(models: Sequence[Sequence[int | bool]]) -> NDArray[np.int64]:
    """Return an array of the shape [clips, models]."""
    return np.array(models, dtype=np.int64).reshape(len(models), -1).T


def _make_share(resample: Resample, column: int) -> CountShare:
    """Return the share in one column of a table in which each clip counts as one word."""
    count, of = int(resample.errors[column]), resample.words
    drawn = to_interval(resample.rate(column))
    if drawn is None:
        return CountShare(count=count, of=of, interval=None)
    low, high = compute_share_bounds(count / of, resample.trials)
    return CountShare(count=count, of=of, interval=Interval(min(low, drawn.low), count / of, max(high, drawn.high)))


def _collect_evidence(
    speech: Sequence[SpeechFinding], non_speech: Sequence[NonSpeechFinding]
) -> tuple[HallucinationEvidence, ...]:
    """Return the first twenty texts of each kind."""
    rows: list[tuple[EvidenceKind, str, str, str]] = [
        ("non_speech", each.clip.clip_id, each.text, "stopped" if each.is_stopped else f"{each.words} words")
        for each in non_speech
        if each.has_output
    ]
    for each in speech:
        details: dict[EvidenceKind, str] = {
            "short_insertion": f"{each.insertions} inserted"
            if each.short_words is not None and each.insertions
            else "",
            "loop": "; ".join(f"{' '.join(loop.phrase)} × {loop.repetitions}" for loop in each.loops),
            "compression": f"ratio {each.compression_ratio:.1f}" if each.is_compressed else "",
            "stock_phrase": " ".join(each.stock_phrase.words) if each.stock_phrase else "",
        }
        rows += [(kind, each.segment_id, each.text, detail) for kind, detail in details.items() if detail]
    return tuple(
        HallucinationEvidence(of=kind, clip_id=clip_id, text=text[:_MAX_EVIDENCE_CHARS], detail=detail)
        for kind in get_args(EvidenceKind)
        for _, clip_id, text, detail in [row for row in rows if row[0] == kind][:MAX_EVIDENCE_PER_KIND]
    )
