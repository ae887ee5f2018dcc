"""How much a model invents: text where nobody speaks, and text in speech that nobody said.

A word error rate hides this: a sentence invented for a cough weighs as much as a few misheard words, and a clip without
speech has no word to err in. What counts as output is a word left after the Spanish normaliser, so `[Música]` and a
lone full stop are none. What loops and stock phrases are is defined in `habla_ml.evaluation.metrics.hallucination_detection`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.hallucination_detection import NonSpeechFinding, SpeechFinding
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Estimate, Interval, Resample

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


class HallucinationChange(EvaluationRecord):
    """One model against another on the same draws, in points (× 100): above 0 is worse; None without clips."""

    non_speech_points: Interval | None
    short_insertion_points: Interval | None
    """Per reference word of the short clips."""
    invented_points: Interval | None


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
        [
            (bool(each.loops), each.is_compressed, each.stock_phrase is not None, each.is_invented)
            for each in speech
        ],
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
        short_insertions_per_word=_to_interval(per_word.rate(0)),
        short_insertions_per_clip=int(inserted[short].sum()) / len(short) if len(short) else None,
        short_with_insertion=_make_share(with_insertion, 0),
        loops=loops,
        compressed=compressed,
        stock_phrases=stock_phrases,
        invented=invented,
        evidence=_collect_evidence(speech, non_speech),
    )


def compare_hallucination(
    before: tuple[Sequence[SpeechFinding], Sequence[NonSpeechFinding]],
    after: tuple[Sequence[SpeechFinding], Sequence[NonSpeechFinding]],
    draws: int,
    seed: int,
) -> HallucinationChange:
    """What model `after` invents beyond model `before`: speech and non-speech findings of the same clips, in order.

    Raises:
        EvaluationError: The two were not tried on the same clips.
    """
    speech, silence = (before[0], after[0]), (before[1], after[1])
    if [each.segment_id for each in speech[0]] != [each.segment_id for each in speech[1]] or [
        each.clip.audio_sha256 for each in silence[0]
    ] != [each.clip.audio_sha256 for each in silence[1]]:
        raise EvaluationError(
            "two models were tried on different clips; find hallucinations of both in the same set, in its order"
        )
    invented = _stack_columns([[each.is_invented for each in model] for model in speech])
    per_word, texts = Draws.of([each.session_id for each in speech[0]], draws, seed).resample(
        [_count_short_insertions(speech), Counts(np.ones(len(invented), np.int64), invented)]
    )
    output = _stack_columns([[each.has_output for each in model] for model in silence])
    (clips,) = Draws.of([each.clip.group for each in silence[0]], draws, seed).resample(
        [Counts(np.ones(len(output), np.int64), output)]
    )
    return HallucinationChange(
        non_speech_points=_to_interval(clips.point_change(0, 1)),
        short_insertion_points=_to_interval(per_word.point_change(0, 1)),
        invented_points=_to_interval(texts.point_change(0, 1)),
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
    rate = _to_interval(per_ms.rate(0))
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


def _to_interval(figure: Estimate | None) -> Interval | None:
    return None if figure is None else figure.interval()


def _make_share(resample: Resample, column: int) -> CountShare:
    """The share in one column of a table whose every clip counts as one."""
    count, of = int(resample.errors[column]), resample.words
    wilson, drawn = compute_wilson_interval(count, of), _to_interval(resample.rate(column))
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
            (each.segment_id, each.text, f"ratio {each.compression_ratio:.1f}")
            for each in speech
            if each.is_compressed
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
