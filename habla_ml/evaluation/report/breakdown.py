"""Where a model makes its errors: slices, sessions and Andalusian features of the test set."""

from __future__ import annotations

from collections import Counter
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, Dimension, Slice
from habla_ml.evaluation.comparison.slices import UNKNOWN
from habla_ml.evaluation.metrics.dialect_features import DialectFeature
from habla_ml.evaluation.report.figures import percent

DIMENSION_LABELS: Final[dict[Dimension, str]] = {
    "overall": "All",
    "loudness": "Loudness",
    "duration": "Length",
    "snr": "Speech above noise",
    "role": "Role",
    "seen_speaker": "Speaker known from training",
    "sentence": "Sentence of the classroom's training data",
    "source": "Source",
    "reference": "Reference text",
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


def list_wide_slices(comparison: Comparison) -> tuple[Slice, ...]:
    """Return the slices of `DIMENSION_LABELS`; a single slice of a dimension repeats the whole test set."""
    counts = Counter(each.dimension for each in comparison.slices if each.words)
    return tuple(
        each
        for each in comparison.slices
        if each.words
        and each.dimension in DIMENSION_LABELS
        and (counts[each.dimension] > 1 or each.dimension == "overall")
    )


def list_speakers(comparison: Comparison) -> tuple[Slice, ...]:
    """Return the speakers with enough speech for an error rate, those with the most words first."""
    speakers = [each for each in comparison.slices if each.dimension == "speaker" and each.words and not each.too_small]
    return tuple(sorted(speakers, key=lambda each: (-each.words, each.name)))


def explain_omitted_speakers(comparison: Comparison, shown: int) -> str:
    """Return how many speakers are not among the `shown` ones and why; empty where all are."""
    small = sum(each.dimension == "speaker" and bool(each.too_small) for each in comparison.slices)
    more = len(list_speakers(comparison)) - shown
    sentences = [f"{small} speaker{' has' if small == 1 else 's have'} too little speech for an error rate."] * (
        small > 0
    )
    sentences += [f"The JSON file holds {more} more with fewer words."] * (more > 0)
    return " ".join(sentences)


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


def select_worst_sessions(comparison: Comparison, focus: str) -> list[Slice]:
    """Return the sessions with the highest lower bound of the error rate of `focus`, the worst first."""

    def lower_error_bound(each: Slice) -> float:
        rate = next(rate.rate for rate in each.rates if rate.model == focus)
        return rate.interval.low if rate.interval else 0.0

    sessions = [each for each in comparison.slices if each.dimension == "session"]
    ranked = sorted(sessions, key=lambda each: (-lower_error_bound(each), each.name))
    return [each for each in ranked[:SESSIONS_SHOWN] if lower_error_bound(each) > 0]
