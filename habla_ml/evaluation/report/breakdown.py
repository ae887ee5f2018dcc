"""Where a model errs: slices, sessions, Andalusian sites; what is too small to speak of says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, ComparisonMethod, Dimension, Slice
from habla_ml.evaluation.comparison.slices import UNKNOWN
from habla_ml.evaluation.metrics.dialect_features import DialectFeature
from habla_ml.evaluation.metrics.feature_errors import FeatureScore
from habla_ml.evaluation.report.figures import percent
from habla_ml.evaluation.report.plots import round_axis_end

DIMENSION_LABELS: Final[dict[Dimension, str]] = {
    "overall": "All",
    "loudness": "Loudness",
    "duration": "Length",
    "snr": "Speech above noise",
    "role": "Role",
    "seen_speaker": "Speaker known from training",
    "source": "Source",
}
"""Dimensions with few slices; speakers and sessions are shown by themselves."""
PHENOMENON_LABELS: Final[dict[DialectFeature, str]] = {
    "final_s_before_pause": "Final s before a pause",
    "final_s_before_vowel": "Final s before a vowel",
    "final_s_before_consonant": "Final s before a consonant",
    "s_before_consonant": "s before a consonant",
    "seseo": "Seseo",
    "ceceo": "Ceceo",
    "yeismo": "Yeísmo",
    "participle_d": "-ado, -ido",
    "intervocalic_d": "d between vowels",
    "final_consonant": "Final consonant",
    "vowel_contact": "Vowels that meet",
    "l_before_consonant": "l before a consonant",
    "learned_cluster": "Learned clusters",
    "jota": "Soft jota",
    "che": "Soft che",
    "para": "para → pa",
}
_SPEAKER_MAP_DIMENSIONS: Final[tuple[Dimension, ...]] = ("role", "seen_speaker")
"""What the speaker map alone can tell."""
SPEAKERS_SHOWN: Final = 12
SESSIONS_SHOWN: Final = 5


@dataclass(frozen=True)
class TestSetBreakdown:
    """The parts of the test set, ready to be drawn."""

    groups: tuple[tuple[str, tuple[Slice, ...]], ...]
    """Dimension as a person calls it → its slices."""
    scale: float
    """Where their axis ends."""
    missing_dimensions: str
    """What nobody knows of any clip, and how it comes to be known; empty where there is nothing of the kind."""
    speakers: tuple[Slice, ...]
    more_speakers: int
    speaker_scale: float
    sessions: tuple[Slice, ...]
    """Those with the most errors that are no accident of a few words."""
    session_scale: float


@dataclass(frozen=True)
class PhenomenonBreakdown:
    """Andalusian sites, ready to be drawn."""

    large: tuple[FeatureScore, ...]
    small: tuple[tuple[FeatureScore, str], ...]
    """Each with why nothing follows from it."""
    scale: float


def break_down_test_set(comparison: Comparison, focus: str) -> TestSetBreakdown:
    """The slices in the order of the comparison; sessions by how badly `focus` surely does on them."""
    wide = [each for each in comparison.slices if each.dimension in DIMENSION_LABELS]
    speakers = sorted(
        (each for each in comparison.slices if each.dimension == "speaker"),
        key=lambda each: (-each.words, each.name),
    )
    grouped = [(dimension, tuple(members)) for dimension, members in groupby(wide, lambda each: each.dimension)]
    sessions = _select_worst_sessions([each for each in comparison.slices if each.dimension == "session"], focus)
    return TestSetBreakdown(
        # A dimension with one slice says what the whole says.
        groups=tuple(
            (DIMENSION_LABELS[dimension], members)
            for dimension, members in grouped
            if len(members) > 1 or dimension == "overall"
        ),
        scale=_compute_axis_end(wide),
        missing_dimensions=_explain_missing_dimensions(wide),
        speakers=tuple(speakers[:SPEAKERS_SHOWN]),
        more_speakers=max(0, len(speakers) - SPEAKERS_SHOWN),
        speaker_scale=_compute_axis_end(speakers[:SPEAKERS_SHOWN]),
        sessions=sessions,
        session_scale=_compute_axis_end(sessions),
    )


def _explain_missing_dimensions(slices: Sequence[Slice]) -> str:
    found = [
        DIMENSION_LABELS[dimension]
        for dimension in _SPEAKER_MAP_DIMENSIONS
        if {each.name for each in slices if each.dimension == dimension} == {UNKNOWN}
    ]
    if not found:
        return ""
    return (
        f"{' and '.join(found).capitalize()}: not known of any clip. Name the people of the class in a file, and that "
        "file in corpus.speakers of the settings (docs/splits.md), then publish splits again."
    )


def split_phenomena_by_size(comparison: Comparison) -> PhenomenonBreakdown:
    """The phenomena apart by whether there are enough words to speak of, by the rule for slices."""
    judged = [
        (each, too_small(each.sessions, each.words, comparison.method)) for each in comparison.dialect_features
    ]
    large = tuple(each for each, reason in judged if reason is None)
    return PhenomenonBreakdown(
        large=large,
        small=tuple((each, reason) for each, reason in judged if reason is not None),
        scale=round_axis_end([rate.rate for each in large for rate in each.rates]),
    )


_CONDITION_DIMENSIONS: Final[tuple[Dimension, ...]] = (
    "loudness",
    "duration",
    "snr",
    "role",
    "seen_speaker",
    "source",
)


def describe_conditions(comparison: Comparison) -> tuple[str, ...]:
    """How the test set was spoken and recorded: each dimension's parts with their share of the words."""
    words = comparison.test.words
    found = []
    for dimension in _CONDITION_DIMENSIONS:
        parts = [each for each in comparison.slices if each.dimension == dimension and each.words]
        if words and parts and any(each.name != UNKNOWN for each in parts):
            said = ", ".join(f"{each.name} {percent(each.words / words, 0)}" for each in parts)
            found.append(f"{DIMENSION_LABELS[dimension].lower()}: {said}")
    return tuple(found)


def list_decoding_languages(comparison: Comparison) -> str:
    """What the models were told to hear."""
    return ", ".join(dict.fromkeys(model.decoding.language for model in comparison.models))


def too_small(sessions: int, words: int, method: ComparisonMethod) -> str | None:
    """Why nothing follows from a part of the test set, by the comparison's own rule, or None."""
    if sessions < method.smallest_slice_sessions:
        return f"too small: {sessions} of the {method.smallest_slice_sessions} sessions it takes"
    if words < method.smallest_slice_words:
        return f"too small: {words} of the {method.smallest_slice_words} words it takes"
    return None


def _select_worst_sessions(sessions: Sequence[Slice], focus: str) -> tuple[Slice, ...]:
    def lower_error_bound(each: Slice) -> float:
        rate = next(rate.rate for rate in each.rates if rate.model == focus)
        return rate.interval.low if rate.interval else 0.0

    ranked = sorted(sessions, key=lambda each: (-lower_error_bound(each), each.name))
    return tuple(each for each in ranked[:SESSIONS_SHOWN] if lower_error_bound(each) > 0)


def _compute_axis_end(slices: Sequence[Slice]) -> float:
    return round_axis_end([rate.rate.interval for each in slices for rate in each.rates])
