"""Parts of a test set that mean something to a person: quiet and normal speech, speakers, lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison import Slice, SliceRate
from habla_ml.evaluation.rates import ScoredModel, rate_of, resample_models
from habla_ml.evaluation.statistics import paired_relative_improvement

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

Dimension = Literal["overall", "loudness", "duration", "speaker"]

_DURATION_BOUNDS_S = (2.0, 4.0, 8.0)
_LOCAL_LABEL = re.compile(
    r"(?:(?:speaker|spk|hablante|unknown|desconocido)[ _-]*[a-z0-9]{0,3}|[a-z]|\d*)", re.IGNORECASE
)


@dataclass(frozen=True)
class Reference:
    """An utterance without its audio: what scoring needs to know."""

    segment_id: str
    session_id: str
    speaker: str
    sentence: str
    duration_s: float
    loudness_dbfs: float
    audio_sha256: str

    @classmethod
    def of(cls, utterance: Utterance) -> Reference:
        """Drop the audio, so that memory holds text only."""
        return cls(
            utterance.segment_id,
            utterance.session_id,
            utterance.speaker,
            utterance.sentence,
            utterance.duration_s,
            utterance.loudness_dbfs,
            utterance.audio_sha256,
        )


def slices_of(
    references: Sequence[Reference], models: Sequence[ScoredModel], settings: EvaluationSettings
) -> tuple[Slice, ...]:
    """Every slice of the test set, the whole first; each utterance is in one slice of each dimension.

    The improvement is that of the model named as candidate over the base; None where either is missing.
    """
    groups: dict[tuple[Dimension, str], list[int]] = {}
    for at, reference in enumerate(references):
        for key in _slices_of_one(reference, settings.quiet_below_dbfs):
            groups.setdefault(key, []).append(at)
    order: tuple[Dimension, ...] = ("overall", "loudness", "duration", "speaker")
    keys = sorted(groups, key=lambda key: (order.index(key[0]), key[1]))
    return tuple(_slice(*key, groups[key], references, models, settings) for key in keys)


def speaker_key(reference: Reference) -> str:
    """Who speaks: an enrolled name, or a session's own label with the session in front.

    `SPEAKER_00` in two sessions need not be one person, so such labels are never joined across sessions.
    """
    label = reference.speaker.strip()
    if _LOCAL_LABEL.fullmatch(label):
        return f"{reference.session_id} · {label or 'no label'}"
    return label


def _slices_of_one(reference: Reference, quiet_below_dbfs: float) -> list[tuple[Dimension, str]]:
    quiet = reference.loudness_dbfs < quiet_below_dbfs
    bound = f"{quiet_below_dbfs:g} dBFS"
    return [
        ("overall", "all speech"),
        ("loudness", f"quiet (below {bound})" if quiet else f"normal (from {bound})"),
        ("duration", _duration_bin(reference.duration_s)),
        ("speaker", speaker_key(reference)),
    ]


def _duration_bin(duration_s: float) -> str:
    low = 0.0
    for high in _DURATION_BOUNDS_S:
        if duration_s < high:
            return f"{low:g}–{high:g} s"
        low = high
    return f"{low:g} s and more"


def _slice(
    dimension: Dimension,
    name: str,
    chosen: Sequence[int],
    references: Sequence[Reference],
    models: Sequence[ScoredModel],
    settings: EvaluationSettings,
) -> Slice:
    sessions = [references[at].session_id for at in chosen]
    scores = [[model.words[at] for at in chosen] for model in models]
    resample = resample_models(sessions, scores, settings)
    roles = {model.role: at for at, model in enumerate(models)}
    improvement = None
    if "base" in roles and "candidate" in roles:
        improvement = paired_relative_improvement(resample, roles["base"], roles["candidate"])
    return Slice(
        dimension=dimension,
        name=name,
        utterances=len(chosen),
        sessions=len(set(sessions)),
        words=resample.words,
        too_small=_too_small(len(set(sessions)), resample.words, settings),
        rates=tuple(
            SliceRate(model=model.name, rate=rate_of(scores[at], resample, at)) for at, model in enumerate(models)
        ),
        improvement=improvement,
    )


def _too_small(sessions: int, words: int, settings: EvaluationSettings) -> str | None:
    """The stated rule: an interval over few sessions, or a rate over few words, says nothing."""
    if sessions < settings.smallest_slice_sessions:
        return f"too small: {sessions} of the {settings.smallest_slice_sessions} sessions it takes"
    if words < settings.smallest_slice_words:
        return f"too small: {words} of the {settings.smallest_slice_words} words it takes"
    return None
