"""Where a model makes its errors: slices, sessions and Andalusian features of the test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, Dimension, Slice
from habla_ml.evaluation.comparison.slices import UNKNOWN, explain_too_small
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
"""Dimensions with few slices; speakers and sessions have their own lists."""
DIALECT_FEATURE_LABELS: Final[dict[DialectFeature, str]] = {
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
    "vowel_contact": "Adjacent vowels",
    "l_before_consonant": "l before a consonant",
    "learned_cluster": "Learned clusters",
    "jota": "Soft jota",
    "che": "Soft che",
    "para": "para → pa",
}
SPEAKERS_SHOWN: Final = 12
SESSIONS_SHOWN: Final = 5


@dataclass(frozen=True)
class SliceGroup:
    """Slices that share an axis from 0 to `scale`."""

    slices: tuple[Slice, ...]
    scale: float

    @classmethod
    def of(cls, slices: Iterable[Slice]) -> SliceGroup:
        """Choose a round end of the axis that holds every interval."""
        members = tuple(slices)
        return cls(members, round_axis_end([rate.rate.interval for each in members for rate in each.rates]))


@dataclass(frozen=True)
class TestSetBreakdown:
    """The slices of the test set as the page draws them."""

    dimensions: tuple[tuple[str, tuple[Slice, ...]], ...]
    """Label of a dimension, and its slices."""
    scale: float
    """End of the axis of `dimensions`."""
    missing_dimensions: str
    """Which dimensions are unknown for all clips, and how to provide them; empty where none is."""
    speakers: SliceGroup
    """The speakers with the most words."""
    other_speakers: int
    """Number of speakers that are not in `speakers`."""
    sessions: SliceGroup
    """The sessions with the highest lower bound of the error rate."""


@dataclass(frozen=True)
class FeatureBreakdown:
    """Andalusian features as the page draws them."""

    large: tuple[FeatureScore, ...]
    small: tuple[tuple[FeatureScore, str], ...]
    """Features with too few words, each with the reason."""
    scale: float


def break_down_test_set(comparison: Comparison, focus: str) -> TestSetBreakdown:
    """Group the slices by dimension, and select the speakers with the most words and the worst sessions of `focus`."""
    wide = SliceGroup.of(each for each in comparison.slices if each.dimension in DIMENSION_LABELS)
    speakers = sorted(
        (each for each in comparison.slices if each.dimension == "speaker"), key=lambda each: (-each.words, each.name)
    )
    grouped = {dimension: tuple(members) for dimension, members in groupby(wide.slices, lambda each: each.dimension)}
    return TestSetBreakdown(
        # A single slice of a dimension repeats the whole test set.
        dimensions=tuple(
            (DIMENSION_LABELS[dimension], members)
            for dimension, members in grouped.items()
            if len(members) > 1 or dimension == "overall"
        ),
        scale=wide.scale,
        missing_dimensions=explain_missing_dimensions(comparison),
        speakers=SliceGroup.of(speakers[:SPEAKERS_SHOWN]),
        other_speakers=max(0, len(speakers) - SPEAKERS_SHOWN),
        sessions=SliceGroup.of(_select_worst_sessions(comparison, focus)),
    )


def explain_missing_dimensions(comparison: Comparison) -> str:
    """Return which dimensions of the speaker map are unknown for all clips, and how to provide them, or ""."""
    from_speaker_map: tuple[Dimension, ...] = ("role", "seen_speaker")
    found = [
        DIMENSION_LABELS[dimension]
        for dimension in from_speaker_map
        if {each.name for each in comparison.slices if each.dimension == dimension} == {UNKNOWN}
    ]
    if not found:
        return ""
    return (
        f"{' and '.join(found).capitalize()}: unknown for all clips. List the speakers of the class in a file, set "
        "corpus.speakers to its path (docs/splits.md), then publish splits again."
    )


def split_features_by_size(comparison: Comparison) -> FeatureBreakdown:
    """Separate the features with enough words for an error rate from the others, by the rule for slices."""
    explained = [
        (each, explain_too_small(each.sessions, each.words, comparison.method)) for each in comparison.dialect_features
    ]
    large = tuple(each for each, reason in explained if reason is None)
    return FeatureBreakdown(
        large=large,
        small=tuple((each, reason) for each, reason in explained if reason is not None),
        scale=round_axis_end([rate.rate for each in large for rate in each.rates]),
    )


def describe_conditions(comparison: Comparison) -> tuple[str, ...]:
    """Return one text per known dimension: its slices with their share of the words."""
    words = comparison.test.words
    found = []
    for dimension, label in DIMENSION_LABELS.items():
        parts = [each for each in comparison.slices if each.dimension == dimension and each.words]
        if dimension != "overall" and words and any(each.name != UNKNOWN for each in parts):
            shares = ", ".join(f"{each.name} {percent(each.words / words, 0)}" for each in parts)
            found.append(f"{label.lower()}: {shares}")
    return tuple(found)


def _select_worst_sessions(comparison: Comparison, focus: str) -> list[Slice]:
    def lower_error_bound(each: Slice) -> float:
        rate = next(rate.rate for rate in each.rates if rate.model == focus)
        return rate.interval.low if rate.interval else 0.0

    sessions = [each for each in comparison.slices if each.dimension == "session"]
    ranked = sorted(sessions, key=lambda each: (-lower_error_bound(each), each.name))
    return [each for each in ranked[:SESSIONS_SHOWN] if lower_error_bound(each) > 0]
