"""How numbers are written, the same in HTML and Markdown; what is not known is a dash."""

from __future__ import annotations

from habla_ml.corpus.general_speech import SourceOfSpeech
from habla_ml.evaluation.comparison import Rate
from habla_ml.evaluation.statistics import Interval

UNKNOWN = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """`0.1234` as `12.3 %`, with a space that does not break."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f}\u00a0%"


def points(change: float | None) -> str:
    """A change in points, always signed: `+1.2`."""
    return UNKNOWN if change is None else f"{change:+.1f}"


def rate_with_interval(rate: Rate | None) -> str:
    """`12.3 % (10.1–14.9)`, the interval in percent."""
    if rate is None or rate.interval is None:
        return UNKNOWN
    return f"{percent(rate.value)} ({100 * rate.interval.low:.1f}–{100 * rate.interval.high:.1f})"


def fewer_errors(interval: Interval | None) -> str:
    """A relative improvement in words: `40 % fewer (31 to 48)`, or `12 % more (3 to 20)`."""
    if interval is None:
        return UNKNOWN
    if interval.value < 0:
        return f"{percent(-interval.value, 0)} more ({-100 * interval.high:.0f} to {-100 * interval.low:.0f})"
    return f"{percent(interval.value, 0)} fewer ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def points_with_interval(interval: Interval | None) -> str:
    """A change in points: `-1.2 (-2.0 to -0.4)`."""
    if interval is None:
        return UNKNOWN
    return f"{interval.value:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"


def factor(value: Interval | None) -> str:
    """A real-time factor with its interval: `0.021 × (0.019–0.024)`."""
    return UNKNOWN if value is None else f"{value.value:.3f} × ({value.low:.3f}–{value.high:.3f})"


def minutes(duration_s: float) -> str:
    """Seconds as minutes: `12.5 min`."""
    return f"{duration_s / 60:.1f} min"


def whose(source: SourceOfSpeech) -> str:
    """What was measured on, in words: `120 clips, 5.1 min, everything; licence CC0-1.0; from https://…`."""
    taken = f"{source.clips} clips, {minutes(3600 * source.hours)}, {source.selection}"
    licence, origin = (each or "not stated" for each in (source.licence, source.origin))
    return f"{taken}; licence {licence}; from {origin}; sounds and sentences {source.digest[:12]}"
