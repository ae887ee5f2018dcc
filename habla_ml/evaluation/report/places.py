"""Where a model errs: slices, sessions, Andalusian sites; what is too small to speak of says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from habla_ml.evaluation.comparison import Comparison, Dimension, Method, Slice
from habla_ml.evaluation.phenomena import Phenomenon
from habla_ml.evaluation.report.figures import percent
from habla_ml.evaluation.report.plots import scale_end
from habla_ml.evaluation.site_errors import SiteScore
from habla_ml.evaluation.slices import UNKNOWN

DIMENSIONS: Final[dict[Dimension, str]] = {
    "overall": "All",
    "loudness": "Loudness",
    "duration": "Length",
    "snr": "Speech above noise",
    "role": "Role",
    "seen_speaker": "Speaker known from training",
    "source": "Source",
}
"""Dimensions with few slices; speakers and sessions are shown by themselves."""
PHENOMENON_NAMES: Final[dict[Phenomenon, str]] = {
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
_OF_PEOPLE: Final[tuple[Dimension, ...]] = ("role", "seen_speaker")
"""What the speaker map alone can tell."""
SPEAKERS_SHOWN: Final = 12
SESSIONS_SHOWN: Final = 5


@dataclass(frozen=True)
class Places:
    """The parts of the test set, ready to be drawn."""

    groups: tuple[tuple[str, tuple[Slice, ...]], ...]
    """Dimension as a person calls it → its slices."""
    scale: float
    """Where their axis ends."""
    untold: str
    """What nobody knows of any clip, and how it comes to be known; empty where there is nothing of the kind."""
    speakers: tuple[Slice, ...]
    more_speakers: int
    speaker_scale: float
    sessions: tuple[Slice, ...]
    """Those with the most errors that are no accident of a few words."""
    session_scale: float


@dataclass(frozen=True)
class Phenomena:
    """Andalusian sites, ready to be drawn."""

    large: tuple[SiteScore, ...]
    small: tuple[tuple[SiteScore, str], ...]
    """Each with why nothing follows from it."""
    scale: float


def places_of(comparison: Comparison, focus: str) -> Places:
    """The slices in the order of the comparison; sessions by how badly `focus` surely does on them."""
    wide = [each for each in comparison.slices if each.dimension in DIMENSIONS]
    speakers = sorted(
        (each for each in comparison.slices if each.dimension == "speaker"),
        key=lambda each: (-each.words, each.name),
    )
    grouped = [(dimension, tuple(members)) for dimension, members in groupby(wide, lambda each: each.dimension)]
    sessions = _worst([each for each in comparison.slices if each.dimension == "session"], focus)
    return Places(
        # A dimension with one slice says what the whole says.
        groups=tuple(
            (DIMENSIONS[dimension], members)
            for dimension, members in grouped
            if len(members) > 1 or dimension == "overall"
        ),
        scale=_scale(wide),
        untold=_untold(wide),
        speakers=tuple(speakers[:SPEAKERS_SHOWN]),
        more_speakers=max(0, len(speakers) - SPEAKERS_SHOWN),
        speaker_scale=_scale(speakers[:SPEAKERS_SHOWN]),
        sessions=sessions,
        session_scale=_scale(sessions),
    )


def _untold(slices: Sequence[Slice]) -> str:
    found = [
        DIMENSIONS[dimension]
        for dimension in _OF_PEOPLE
        if {each.name for each in slices if each.dimension == dimension} == {UNKNOWN}
    ]
    if not found:
        return ""
    return (
        f"{' and '.join(found).capitalize()}: not known of any clip. Name the people of the class in a file, and that "
        "file in corpus.speakers of the settings (docs/splits.md), then publish splits again."
    )


def phenomena_of(comparison: Comparison) -> Phenomena:
    """The phenomena apart by whether there are enough words to speak of, by the rule for slices."""
    judged = [(each, too_small(each.sessions, each.words, comparison.method)) for each in comparison.phenomena]
    large = tuple(each for each, reason in judged if reason is None)
    return Phenomena(
        large=large,
        small=tuple((each, reason) for each, reason in judged if reason is not None),
        scale=scale_end([rate.rate for each in large for rate in each.rates]),
    )


_CONDITIONS: Final[tuple[Dimension, ...]] = ("loudness", "duration", "snr", "role", "seen_speaker", "source")


def conditions_of(comparison: Comparison) -> tuple[str, ...]:
    """How the test set was spoken and recorded: each dimension's parts with their share of the words."""
    words = comparison.test.words
    found = []
    for dimension in _CONDITIONS:
        parts = [each for each in comparison.slices if each.dimension == dimension and each.words]
        if words and parts and any(each.name != UNKNOWN for each in parts):
            said = ", ".join(f"{each.name} {percent(each.words / words, 0)}" for each in parts)
            found.append(f"{DIMENSIONS[dimension].lower()}: {said}")
    return tuple(found)


def languages_of(comparison: Comparison) -> str:
    """What the models were told to hear."""
    return ", ".join(dict.fromkeys(model.decoding.language for model in comparison.models))


def too_small(sessions: int, words: int, method: Method) -> str | None:
    """Why nothing follows from a part of the test set, by the comparison's own rule, or None."""
    if sessions < method.smallest_slice_sessions:
        return f"too small: {sessions} of the {method.smallest_slice_sessions} sessions it takes"
    if words < method.smallest_slice_words:
        return f"too small: {words} of the {method.smallest_slice_words} words it takes"
    return None


def _worst(sessions: Sequence[Slice], focus: str) -> tuple[Slice, ...]:
    def surely_wrong(each: Slice) -> float:
        rate = next(rate.rate for rate in each.rates if rate.model == focus)
        return rate.interval.low if rate.interval else 0.0

    ranked = sorted(sessions, key=lambda each: (-surely_wrong(each), each.name))
    return tuple(each for each in ranked[:SESSIONS_SHOWN] if surely_wrong(each) > 0)


def _scale(slices: Sequence[Slice]) -> float:
    return scale_end([rate.rate.interval for each in slices for rate in each.rates])
