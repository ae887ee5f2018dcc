"""How much a model invents: text where nobody speaks, and text in speech that nobody said.

A word error rate hides this: a sentence invented for a cough weighs as much as a few misheard words, and a clip without
speech has no word to err in. What counts as output is a word left after the Spanish normaliser, so `[Música]` and a
lone full stop are none. What loops and stock phrases are is defined in `habla_ml.evaluation.metrics.hallucination_detection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.hallucination_detection import (
    HallucinationThresholds,
    NonSpeechFinding,
    SpeechFinding,
    find_non_speech_hallucinations,
    find_speech_hallucinations,
)
from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable, ReleaseGuard, compute_differences
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, Resample, to_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EVIDENCE_PER_KIND: Final = 20
"""Of each sort; the counts hold all."""
_Z_95: Final = 1.959963984540054
_MAX_EVIDENCE_CHARS: Final = 300


class CountShare(EvaluationRecord):
    """How many of how many.

    The interval holds both the bootstrap over sessions (or sorts of sound) and Wilson's, which alone knows that none
    in thirty may still be one in ten; None where there is nothing to count.
    """

    count: int
    of: int
    interval: Interval | None


class NonSpeechKind(EvaluationRecord):
    """The clips of one kind."""

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
    """What was found in it, for a person."""


class HallucinationScore(EvaluationRecord):
    """How much one model invents."""

    non_speech_digest: str
    """Of the clips without speech; scores on other clips are not compared."""
    non_speech: CountShare
    """Clips without speech with any output."""
    non_speech_words_per_minute: Interval | None
    non_speech_stopped: int
    """Of them, clips on which decoding ran out of time or crashed."""
    kinds: tuple[NonSpeechKind, ...]
    short_insertions_per_word: Interval | None
    """Inserted words per reference word, in short clips."""
    short_insertions_per_clip: float | None
    short_with_insertion: CountShare
    """Short clips with an inserted word."""
    loops: CountShare
    """Utterances with a loop."""
    compressed: CountShare
    """Utterances whose text compresses too well."""
    stock_phrases: CountShare
    """Utterances with a stock phrase that nobody said."""
    invented: CountShare
    """Utterances with any of the last three."""
    evidence: tuple[HallucinationEvidence, ...]


@dataclass(frozen=True)
class ModelHallucinations:
    """What one model invents; all models decode the same clips."""

    speech: Sequence[SpeechFinding]
    non_speech: Sequence[NonSpeechFinding]


@dataclass(frozen=True)
class HallucinationResamples:
    """Counts of all models on the same draws: one column for each model."""

    non_speech: Resample
    """Clips without speech with output."""
    short_insertions: Resample
    """Inserted words over the reference words of short clips."""
    invented: Resample
    """Utterances with a loop, a text that compresses too well or a stock phrase."""


def find_hallucinations(inputs: MetricInputs) -> list[ModelHallucinations] | None:
    """Find what each model invents on the test set and on the clips without speech; None without such clips."""
    clips, settings = inputs.measurements.non_speech, inputs.settings
    if clips is None or not clips.clips:
        return None
    thresholds = HallucinationThresholds(settings.short_below_s, settings.compression_ratio, settings.stock_phrases)
    return [
        ModelHallucinations(
            find_speech_hallucinations(inputs.test.references, scored.texts, scored.words, thresholds),
            find_non_speech_hallucinations(clips.clips, {each.audio_sha256: each for each in decoded.non_speech}),
        )
        for decoded, scored in zip(inputs.models, inputs.test.models, strict=True)
    ]


def score_hallucinations(inputs: MetricInputs) -> list[HallucinationScore | None]:
    """Return the figures of each model; None without clips without speech."""
    found, clips = inputs.compute_once(find_hallucinations), inputs.measurements.non_speech
    if found is None or clips is None:
        return [None] * len(inputs.models)
    draws, seed = inputs.settings.bootstrap_draws, inputs.settings.seed
    return [score_hallucination(each.speech, each.non_speech, clips.digest, draws, seed) for each in found]


def resample_hallucinations(found: Sequence[ModelHallucinations], draws: int, seed: int) -> HallucinationResamples:
    """Draw what several models invent: speech by session, clips without speech by kind of sound."""
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


def _measure_non_speech_output(inputs: MetricInputs) -> MetricTable:
    scores, resamples = inputs.compute_once(score_hallucinations), inputs.compute_once(_resample_inputs)
    return MetricTable(
        [each.non_speech.interval if each else None for each in scores],
        compute_differences(resamples.non_speech, inputs.pairs) if resamples else {},
    )


def _measure_short_insertions(inputs: MetricInputs) -> MetricTable:
    scores, resamples = inputs.compute_once(score_hallucinations), inputs.compute_once(_resample_inputs)
    return MetricTable(
        [each.short_insertions_per_word if each else None for each in scores],
        compute_differences(resamples.short_insertions, inputs.pairs) if resamples else {},
    )


def _measure_invented_texts(inputs: MetricInputs) -> MetricTable:
    scores, resamples = inputs.compute_once(score_hallucinations), inputs.compute_once(_resample_inputs)
    return MetricTable(
        [each.invented.interval if each else None for each in scores],
        compute_differences(resamples.invented, inputs.pairs) if resamples else {},
    )


NON_SPEECH_OUTPUT = Metric(
    "non_speech_output",
    "output without speech",
    "share",
    _measure_non_speech_output,
    guard=ReleaseGuard(
        lambda settings: settings.non_speech_loss_points,
        "writes text in more clips without speech",
        "of these clips",
    ),
)
SHORT_INSERTIONS = Metric("short_insertions", "inserted words in short clips", "share", _measure_short_insertions)
INVENTED_TEXTS = Metric(
    "invented_texts",
    "invented texts",
    "share",
    _measure_invented_texts,
    guard=ReleaseGuard(
        lambda settings: settings.invented_loss_points,
        "invents more text (loops, stock phrases)",
        "of the clips",
    ),
)


def score_hallucination(
    speech: Sequence[SpeechFinding],
    non_speech: Sequence[NonSpeechFinding],
    non_speech_digest: str,
    draws: int,
    seed: int,
) -> HallucinationScore:
    """One model's figures with 95 % intervals, from what was found in it.

    Args:
        speech: From `find_speech_hallucinations` on the test set.
        non_speech: From `find_non_speech_hallucinations`.
        non_speech_digest: Of the set that they were found in.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    short = np.flatnonzero([each.short_words is not None for each in speech])
    inserted = np.array([each.insertions for each in speech], dtype=np.int64)
    events = np.array(
        [(bool(each.loops), each.is_compressed, each.stock_phrase is not None, each.is_invented) for each in speech],
        dtype=np.int64,
    ).reshape(len(speech), 4)
    per_word, with_insertion, found = Draws.of([each.session_id for each in speech], draws, seed).resample(
        [
            _count_short_insertions([speech]),
            Counts(np.ones_like(short), (inserted[short] > 0).astype(np.int64)[:, None], short),
            Counts(np.ones(len(speech), np.int64), events),
        ]
    )
    loops, compressed, stock_phrases, invented = (_make_share(found, at) for at in range(4))
    return HallucinationScore(
        **_score_non_speech(non_speech, draws, seed),
        non_speech_digest=non_speech_digest,
        non_speech_stopped=sum(each.is_stopped for each in non_speech),
        short_insertions_per_word=to_interval(per_word.rate(0)),
        short_insertions_per_clip=int(inserted[short].sum()) / len(short) if len(short) else None,
        short_with_insertion=_make_share(with_insertion, 0),
        loops=loops,
        compressed=compressed,
        stock_phrases=stock_phrases,
        invented=invented,
        evidence=_collect_evidence(speech, non_speech),
    )


def compute_wilson_interval(count: int, of: int) -> Interval | None:
    """Wilson's 95 % interval of a share (JASA 22, 1927); None where there is nothing to count."""
    if not of:
        return None
    share, squared = count / of, _Z_95**2
    middle = (share + squared / (2 * of)) / (1 + squared / of)
    half = _Z_95 / (1 + squared / of) * math.sqrt(share * (1 - share) / of + squared / (4 * of**2))
    # At none or all one end is the share itself, but for rounding.
    return Interval(min(share, max(0.0, middle - half)), share, max(share, min(1.0, middle + half)))


def _score_non_speech(found: Sequence[NonSpeechFinding], draws: int, seed: int) -> dict[str, Any]:
    """The fields of the score that clips without speech decide."""
    ones = np.ones(len(found), np.int64)
    output = _stack_columns([[each.has_output for each in found]])
    words = _stack_columns([[each.words for each in found]])
    lengths_ms = np.array([round(1000 * each.clip.duration_s) for each in found], dtype=np.int64)
    kinds = sorted({each.clip.kind for each in found})
    rows = [np.flatnonzero([each.clip.kind == kind for each in found]) for kind in kinds]
    whole, per_ms, *of_kinds = Draws.of([each.clip.group for each in found], draws, seed).resample(
        [
            Counts(ones, output),
            Counts(lengths_ms, words),
            *(Counts(ones[chosen], output[chosen], chosen) for chosen in rows),
        ]
    )
    rate = to_interval(per_ms.rate(0))
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
            for kind, chosen, resample in zip(kinds, rows, of_kinds, strict=True)
        ),
    }


def _count_short_insertions(models: Sequence[Sequence[SpeechFinding]]) -> Counts:
    """Insertions of each model over the reference words of the short clips."""
    words = [each.short_words for each in models[0]]
    short = np.flatnonzero([each is not None for each in words])
    inserted = _stack_columns([[each.insertions for each in model] for model in models])
    return Counts(np.array([each or 0 for each in words], np.int64)[short], inserted[short], short)


def _stack_columns(models: Sequence[Sequence[int | bool]]) -> NDArray[np.int64]:
    """Shape [clips, models]."""
    return np.array(models, dtype=np.int64).reshape(len(models), -1).T


def _make_share(resample: Resample, column: int) -> CountShare:
    """The share in one column of a table whose every clip counts as one."""
    count, of = int(resample.errors[column]), resample.words
    wilson, drawn = compute_wilson_interval(count, of), to_interval(resample.rate(column))
    if wilson is None or drawn is None:
        return CountShare(count=count, of=of, interval=None)
    widest = Interval(min(wilson.low, drawn.low), wilson.value, max(wilson.high, drawn.high))
    return CountShare(count=count, of=of, interval=widest)


def _collect_evidence(
    speech: Sequence[SpeechFinding], non_speech: Sequence[NonSpeechFinding]
) -> tuple[HallucinationEvidence, ...]:
    """The first twenty of each sort."""
    found: dict[EvidenceKind, list[tuple[str, str, str]]] = {
        "non_speech": [
            (each.clip.clip_id, each.text, "stopped" if each.is_stopped else f"{each.words} words")
            for each in non_speech
            if each.has_output
        ],
        "short_insertion": [
            (each.segment_id, each.text, f"{each.insertions} inserted")
            for each in speech
            if each.short_words is not None and each.insertions
        ],
        "loop": [
            (
                each.segment_id,
                each.text,
                "; ".join(f"{' '.join(loop.phrase)} × {loop.repetitions}" for loop in each.loops),
            )
            for each in speech
            if each.loops
        ],
        "compression": [
            (each.segment_id, each.text, f"ratio {each.compression_ratio:.1f}") for each in speech if each.is_compressed
        ],
        "stock_phrase": [
            (each.segment_id, each.text, " ".join(each.stock_phrase.words)) for each in speech if each.stock_phrase
        ],
    }
    return tuple(
        HallucinationEvidence(of=of, clip_id=clip_id, text=text[:_MAX_EVIDENCE_CHARS], detail=detail)
        for of, rows in found.items()
        for clip_id, text, detail in rows[:MAX_EVIDENCE_PER_KIND]
    )
