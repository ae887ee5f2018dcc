"""The candidate under every serving profile, on the same clips: what another way of serving costs in accuracy."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from habla_ml.corpus.snapshot import TranscribedSegment, Utterance
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, Progress, make_progress_callback
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.alignments import Alignments, get_marked_words
from habla_ml.evaluation.metrics.word_timing import EdgeError, summarise_edges
from habla_ml.evaluation.scoring.alignment import ErrorCounts, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import ErrorRate, compute_rate, stack_counts
from habla_ml.evaluation.scoring.statistics import Draws, Interval, Resample, to_interval
from habla_ml.lake import Lake, compute_digest
from habla_ml.settings import EvaluationSettings, Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_bulk_transcriber
from habla_ml.transcription.options import EngineOptions
from habla_ml.transcription.serving_profiles import SERVING_PROFILES, build_profile_options


class ProfileScore(EvaluationRecord):
    """The candidate under one serving profile."""

    profile: str
    decoding: EngineOptions
    wer: ErrorRate
    points: Interval | None
    """WER minus that of the deciding profile on the same clips, in points: above 0 is worse."""
    empty: int
    """Clips without text."""
    segment_ends: EdgeError | None = None
    """End of the last segment against the end of the last marked word; None without timestamps or marked words."""
    timed_clips: int = 0
    """Clips behind `segment_ends`."""


class ProfileScores(EvaluationRecord):
    """The candidate under all serving profiles, on the same clips."""

    deciding: str
    """The profile that the other figures of the comparison are of."""
    clips: int
    test_clips: int
    """Clips of the whole test set, of which `clips` are a random sample."""
    sessions: int
    scores: tuple[ProfileScore, ...]
    """The deciding profile first."""


def measure_profiles(
    lake: Lake,
    candidate: EvaluatedModel,
    test: Callable[[], Iterable[Utterance]],
    settings: Settings,
    progress: Progress,
    alignments: Alignments | None = None,
) -> ProfileScores | None:
    """Decode the test set, or a random sample of it, with the candidate under every profile.

    The clips under the deciding profile come from the cache, as decoding is cached by options. Return None without clips
    and where `profile_clips` is 0.

    Raises:
        EvaluationError: An engine failed.
    """
    evaluation = settings.evaluation
    total, chosen = select_clips(test(), evaluation.profile_clips)
    if not chosen:
        return None
    names = [evaluation.serving_profile, *(each for each in SERVING_PROFILES if each != evaluation.serving_profile)]
    options = {name: build_profile_options(name, evaluation) for name in names}
    decoded = {}
    for name, each in options.items():
        sample = (clip for clip in test() if clip.segment_id in chosen)
        log = make_progress_callback(f"{candidate.name} under the profile {name}", progress)
        with closing(open_bulk_transcriber(each, candidate.folder, settings)) as transcriber:
            decoded[name] = transcribe_cached(lake, candidate.artefact, transcriber, sample, log)
    return score_profiles(list(chosen.values()), options, decoded, total, evaluation, alignments)


def score_profiles(
    references: Sequence[TranscribedSegment],
    options: Mapping[str, EngineOptions],
    decoded: Mapping[str, Sequence[Hypothesis]],
    test_clips: int,
    settings: EvaluationSettings,
    alignments: Alignments | None = None,
) -> ProfileScores:
    """Score the hypotheses of each profile, the deciding one first, with paired intervals over sessions.

    With manual word times the ends of the segments are scored too, where a profile writes timestamps.
    """
    resample, counts = resample_word_errors(references, list(decoded.values()), settings)
    end_errors = [_measure_segment_ends(references, each, alignments or {}) for each in decoded.values()]
    scores = tuple(
        ProfileScore(
            profile=name,
            decoding=options[name],
            wer=compute_rate(counts[at], resample, at),
            points=to_interval(resample.point_change(0, at)) if at else None,
            empty=sum(not each.text.strip() for each in hypotheses),
            segment_ends=summarise_edges(end_errors[at]),
            timed_clips=len(end_errors[at]),
        )
        for at, (name, hypotheses) in enumerate(decoded.items())
    )
    return ProfileScores(
        deciding=scores[0].profile,
        clips=len(references),
        test_clips=test_clips,
        sessions=len({each.session_id for each in references}),
        scores=scores,
    )


def _measure_segment_ends(
    references: Sequence[TranscribedSegment], hypotheses: Sequence[Hypothesis], alignments: Alignments
) -> NDArray[np.float64]:
    """Return by how many ms the last segment of each clip ends after its last marked word, shape [clips with both]."""
    ends_s = {each.audio_sha256: each.segments_s[1] for each in hypotheses if each.segments_s is not None}
    return np.array(
        [
            1000 * (ends_s[each.audio_sha256] - words[-1].end_s)
            for each in references
            if each.audio_sha256 in ends_s
            and (words := get_marked_words(alignments, each.segment_id, each.audio_sha256))
        ]
    )


def resample_word_errors(
    references: Sequence[TranscribedSegment], decoded: Sequence[Sequence[Hypothesis]], settings: EvaluationSettings
) -> tuple[Resample, list[list[ErrorCounts]]]:
    """Return the paired draws over sessions of several decodings of the same clips, and their counts by clip."""
    counts = []
    for hypotheses in decoded:
        text_by_audio = {each.audio_sha256: each.text for each in hypotheses}
        texts = [text_by_audio[each.audio_sha256] for each in references]
        counts.append(_count_word_errors(references, texts))
    draws = Draws.of([each.session_id for each in references], settings.bootstrap_draws, settings.seed)
    (resample,) = draws.resample([stack_counts(counts)])
    return resample, counts


def _count_word_errors(references: Sequence[TranscribedSegment], texts: Sequence[str]) -> list[ErrorCounts]:
    scored = score_utterances([each.sentence for each in references], texts, normalise_spanish)
    return [each.words for each in scored]


def select_clips(test: Iterable[Utterance], most: int | None) -> tuple[int, dict[str, TranscribedSegment]]:
    """Return the number of clips, and a random sample by segment id, the same whatever the order; None keeps all."""
    references = [_drop_audio(each) for each in test]
    chosen = references
    if most is not None:
        chosen = heapq.nsmallest(most, references, key=lambda each: compute_digest(["profile", each.segment_id]))
    return len(references), {each.segment_id: each for each in chosen}


def _drop_audio(utterance: Utterance) -> TranscribedSegment:
    return TranscribedSegment(**{each.name: getattr(utterance, each.name) for each in fields(TranscribedSegment)})
