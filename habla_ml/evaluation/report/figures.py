"""Formats of numbers in reports; a dash where a value is unknown."""

from __future__ import annotations

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.evaluation.metrics.hallucination import CountShare
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval

NO_VALUE = "–"
_GIB = 1024**3
_EXTRA_DIGIT_BELOW = 0.1


def percent(share: float | None, digits: int = 1) -> str:
    """Return `0.1234` as `12.3 %`, with a non-breaking space."""
    return NO_VALUE if share is None else f"{100 * share:.{digits}f}\u00a0%"


def decimal(value: float | None) -> str:
    """Return `3.1`."""
    return NO_VALUE if value is None else f"{value:.1f}"


def points(change: float | None) -> str:
    """Return a signed change in points: `+1.2`."""
    return NO_VALUE if change is None else f"{change:+.1f}"


def rate_with_interval(rate: ErrorRate | None) -> str:
    """Return `12.3 % (10.1–14.9)`, the interval in percent."""
    return NO_VALUE if rate is None else share_with_interval(rate.interval)


def share_with_interval(interval: Interval | None) -> str:
    """Return `12.3 % (10.1–14.9)` for a share of 1."""
    if interval is None:
        return NO_VALUE
    return f"{percent(interval.value)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def count_with_share(share: CountShare) -> str:
    """Return `3 of 30: 10.0 % (3.5–25.6)`."""
    count = f"{share.count} of {share.of}"
    return count if share.interval is None else f"{count}: {share_with_interval(share.interval)}"


def format_error_reduction(interval: Interval | None) -> str:
    """Return a relative improvement in words: `40 % fewer (31 to 48)`, or `12 % more (3 to 20)`."""
    if interval is None:
        return NO_VALUE
    if interval.value < 0:
        return f"{percent(-interval.value, 0)} more ({-100 * interval.high:.0f} to {-100 * interval.low:.0f})"
    return f"{percent(interval.value, 0)} fewer ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def points_with_interval(interval: Interval | None) -> str:
    """Return a change in points: `-1.2 (-2.0 to -0.4)`."""
    if interval is None:
        return NO_VALUE
    return f"{interval.value:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"


def factor(value: Interval | None) -> str:
    """Return a real-time factor with its interval: `0.021 × (0.019–0.024)`, `1.35 × (1.20–1.60)`."""
    if value is None:
        return NO_VALUE
    digits = 3 if value.value < _EXTRA_DIGIT_BELOW else 2
    return f"{value.value:.{digits}f}\u00a0× ({value.low:.{digits}f}–{value.high:.{digits}f})"


def milliseconds(value: Interval | None) -> str:
    """Return `34 ms (29–41)`."""
    return NO_VALUE if value is None else f"{value.value:.0f}\u00a0ms ({value.low:.0f}–{value.high:.0f})"


def per_minute(value: Interval | None) -> str:
    """Return words per minute: `4.1 (1.2–9.8)`."""
    return NO_VALUE if value is None else f"{value.value:.1f} ({value.low:.1f}–{value.high:.1f})"


def memory(size_bytes: float | None) -> str:
    """Return `1.9 GiB`."""
    return NO_VALUE if size_bytes is None else f"{size_bytes / _GIB:.2f}\u00a0GiB"


def dollars(amount: float | None) -> str:
    """Return `0.013 USD`."""
    if amount is None:
        return NO_VALUE
    return f"{amount:.{3 if amount < _EXTRA_DIGIT_BELOW else 2}f}\u00a0USD"


def minutes(duration_s: float) -> str:
    """Return seconds as minutes: `12.5 min`."""
    return f"{duration_s / 60:.1f} min"


def describe_speech_source(source: SpeechSourceSummary) -> str:
    """Return a speech source in words: `120 clips, 5.1 min, everything; licence CC0-1.0; from https://…`."""
    content = f"{source.clips} clips, {minutes(3600 * source.hours)}, {source.selection}"
    licence, origin = (each or "not stated" for each in (source.licence, source.origin))
    return f"{content}; licence {licence}; from {origin}; digest {source.digest[:12]}"
