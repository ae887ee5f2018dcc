"""Formats of numbers in reports; a dash where a value is unknown."""

from __future__ import annotations

import math

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.evaluation.metrics.hallucination import CountShare
from habla_ml.evaluation.scoring.statistics import Interval

NO_VALUE = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """Return `0.1234` as `12.3 %`, with a non-breaking space."""
    return NO_VALUE if share is None else f"{100 * share:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 0) -> str:
    """Return `3`, or `3.1` with one digit."""
    return NO_VALUE if value is None else f"{value:.{digits}f}"


def share_with_interval(share: Interval | None) -> str:
    """Return `12.3 % (10.1–14.9)` for a share of 1."""
    return number_with_interval(share, 1, "\u00a0%", 100)


def number_with_interval(value: Interval | None, digits: int = 1, unit: str = "", scale: float = 1) -> str:
    """Return the scaled value, its unit and its interval: `4.1 (1.2–9.8)`."""
    if value is None:
        return NO_VALUE
    middle, low, high = (f"{scale * each:.{digits}f}" for each in (value.value, value.low, value.high))
    return f"{middle}{unit} ({low}–{high})"


def count_with_share(share: CountShare) -> str:
    """Return `3 of 30: 10.0 % (3.5–25.6)`; a dash where there is nothing to count."""
    if not share.of:
        return NO_VALUE
    count = f"{share.count} of {share.of}"
    return count if share.interval is None else f"{count}: {share_with_interval(share.interval)}"


def format_error_reduction(interval: Interval | None) -> str:
    """Return a relative improvement in words: `40 % fewer (31 to 48)`, or `12 % more (3 to 20)`."""
    if interval is None:
        return NO_VALUE
    is_more = interval.value < 0
    kind, low, high = ("more", -interval.high, -interval.low) if is_more else ("fewer", interval.low, interval.high)
    return f"{percent(abs(interval.value), 0)} {kind} ({100 * low:.0f} to {100 * high:.0f})"


def points_with_interval(interval: Interval | None) -> str:
    """Return a change in points: `-1.2 (-2.0 to -0.4)`."""
    return NO_VALUE if interval is None else f"{interval.value:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"


def factor(value: Interval | None) -> str:
    """Return a real-time factor with its interval: `0.021 × (0.019–0.024)`, `1.35 × (1.20–1.60)`."""
    return number_with_interval(value, count_decimals(value.value) if value else 0, "\u00a0×")


def count_decimals(value: float) -> int:
    """Return how many decimals show two significant digits, at least two: 2 for 0.35, 3 for 0.021, 5 for 0.0004."""
    return max(2, 1 - math.floor(math.log10(value))) if value > 0 else 2


def milliseconds(value: Interval | None) -> str:
    """Return `34 ms (29–41)`."""
    return number_with_interval(value, 0, "\u00a0ms")


def memory(size_bytes: float) -> str:
    """Return `1.90 GiB`."""
    return f"{size_bytes / 1024**3:.2f}\u00a0GiB"


def dollars(amount: float) -> str:
    """Return `0.013 USD`, or `1.35 USD`."""
    return f"{amount:.{count_decimals(amount)}f}\u00a0USD"


def minutes(duration_s: float) -> str:
    """Return seconds as minutes: `12.5 min`."""
    return f"{duration_s / 60:.1f} min"


def describe_speech_source(source: SpeechSourceSummary) -> str:
    """Return a speech source in words: `120 clips, 5.1 min, everything; licence CC0-1.0; from https://…`."""
    content = f"{source.clips} clips, {minutes(3600 * source.hours)}, {source.selection}"
    licence, origin = (each or "not stated" for each in (source.licence, source.origin))
    return f"{content}; licence {licence}; from {origin}; digest {source.digest[:12]}"
