"""Base and fine-tuned model with both prompts, on the same clips: with timestamp tokens and without.

WhisperX decodes without timestamps, and faster-whisper and WhisperKit with them by default. A model that was trained in one
mode can lose the other: its text, or the times of its segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.metrics.alignments import Alignments
from habla_ml.evaluation.scoring.alignment import score_utterances, sum_counts
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import Draws, Interval, to_interval

_LATE_S: Final = 0.5


@dataclass(frozen=True)
class PromptScore:
    """One model with one prompt on one set."""

    model: str
    speech: str
    timestamps: bool
    clips: int
    words: int
    wer: float | None
    interval: Interval | None
    """95 %, over sessions (classroom) or speakers (general Spanish)."""
    end_error_s: float | None
    """Mean absolute error of the last segment's end; None without timestamps or known word times."""
    late_ends: int | None
    """Clips whose last segment ends more than 0.5 s after the clip; None without timestamps."""


def measure_prompts(
    models: Mapping[str, Path],
    sets: Mapping[str, Sequence[Utterance]],
    alignments: Alignments,
    draws: int,
    seed: int,
) -> list[PromptScore]:
    """Decode every set greedily with every model (name → CTranslate2 folder) and both prompts."""
    from faster_whisper import WhisperModel

    scores = []
    for name, folder in models.items():
        model = WhisperModel(str(folder), device="cpu", compute_type="int8")
        for speech, clips in sets.items():
            for timestamps in (False, True):
                decoded = [_decode(model, each, timestamps=timestamps) for each in clips]
                scores.append(_score(name, speech, clips, decoded, alignments, (draws, seed), timestamps=timestamps))
    return scores


@dataclass(frozen=True)
class _Decoded:
    text: str
    end_s: float | None
    """End of the last segment; None without a segment."""


def _decode(model: Any, clip: Utterance, *, timestamps: bool) -> _Decoded:
    # The clip is padded with sound, not with zeros in the features, as WhisperX and the phone do.
    padded = np.zeros(30 * SAMPLE_RATE, np.float32)
    padded[: len(clip.audio)] = clip.audio
    options = {"beam_size": 1, "temperature": 0.0, "condition_on_previous_text": False}
    segments, _ = model.transcribe(padded, language="es", without_timestamps=not timestamps, **options)
    found = list(segments)
    return _Decoded("".join(each.text for each in found).strip(), found[-1].end if found else None)


def _score(
    model: str,
    speech: str,
    clips: Sequence[Utterance],
    decoded: Sequence[_Decoded],
    alignments: Alignments,
    sampling: tuple[int, int],
    *,
    timestamps: bool,
) -> PromptScore:
    scored = score_utterances([each.sentence for each in clips], [each.text for each in decoded], normalise_spanish)
    counts = [each.words for each in scored]
    (resample,) = Draws.of([each.session_id for each in clips], *sampling).resample([stack_counts([counts])])
    total = sum_counts(counts)
    ends = [(clip, each.end_s) for clip, each in zip(clips, decoded, strict=True) if each.end_s is not None]
    errors = [abs(end_s - words[-1].end_s) for clip, end_s in ends if (words := alignments.get(clip.audio_sha256))]
    return PromptScore(
        model=model,
        speech=speech,
        timestamps=timestamps,
        clips=len(clips),
        words=total.reference_words,
        wer=total.wer,
        interval=to_interval(resample.rate(0)),
        end_error_s=float(np.mean(errors)) if timestamps and errors else None,
        late_ends=sum(end_s > clip.duration_s + _LATE_S for clip, end_s in ends) if timestamps else None,
    )
