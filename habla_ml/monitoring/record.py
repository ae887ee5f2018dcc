"""The stored record of a monitored release.

It has counts and figures only: no text, segment, session or name, so that an erasure never has to change it. Digests
of inputs are shortened to 32 digits: they show a change and name no object.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.monitoring.drift import WeeklyDrift
from habla_ml.monitoring.excess import WeeklyMeasurement

InputName = Literal["loudness_dbfs", "snr_db", "clipped", "duration_s", "rejected", "unseen_speakers", "unknown_words"]


class WeeklyRate(EvaluationRecord):
    """The released model's errors on some of a week's corrections."""

    segments: int
    sessions: int
    rate: ErrorRate
    """Word error rate; its interval is over the week's sessions."""
    log_standard_error: float
    """Of the logarithm of the rate, over sessions."""
    units: float
    """Effective number of sessions."""


class WeeklyQuality(EvaluationRecord):
    """The released model's error rates on the corrections of one week."""

    week: str
    """Monday, `YYYY-MM-DD`, of the correction; the recording may be older."""
    inputs: str
    """Digest of references and decoding; equal digests have equal figures."""
    representative: WeeklyRate | None
    """Segments drawn at random or not chosen by a review queue; drift is tested on these. None without corrections."""
    uncertain: WeeklyRate | None
    """Segments that a review queue chose as difficult: shown, not tested."""
    conventions: str | None
    """Digest of the conventions of the references; None where days differ."""


class ReleaseLevel(EvaluationRecord):
    """The error rate of the release on its own test set."""

    rate: ErrorRate
    log_standard_error: float
    sessions: int
    tolerated: float
    """Error rate up to which there is no drift."""


class InputSeries(EvaluationRecord):
    """One property of the recordings, before and after the release."""

    name: InputName
    level: float
    """Over the reference weeks."""
    allowance: float
    """Largest distance from the level that counts as no change."""
    reference: tuple[WeeklyMeasurement, ...]
    weeks: tuple[WeeklyMeasurement, ...]
    rise: tuple[WeeklyDrift, ...]
    fall: tuple[WeeklyDrift, ...]
    """Empty where only a rise is tested; `rise` is empty where only a fall is tested."""
    bound: float
    """Evidence at which a side is an alarm."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Weeks of an alarm, in order."""
        return tuple(sorted({each.week for each in (*self.rise, *self.fall) if each.alarm}))


class RatioSums(EvaluationRecord):
    """Sums over sessions that give a ratio y / x and its standard error; sums of several days can be added."""

    units: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def __add__(self, other: RatioSums) -> RatioSums:
        return RatioSums(**{name: value + getattr(other, name) for name, value in self})


class DailyInputs(EvaluationRecord):
    """A day's recordings, summed."""

    inputs: str
    """Digest of the day's segment metadata and of the training speakers."""
    sums: dict[str, RatioSums]


class MonitoredRelease(EvaluationRecord):
    """A release and its measurements since."""

    format: Literal["habla_ml.watched_release/1"] = "habla_ml.watched_release/1"
    version: str
    release: str
    """As `2026.11.21-v2`."""
    released_at: AwareDatetime
    level: ReleaseLevel
    bound: float
    """Evidence at which the error rate's drift is an alarm."""
    weeks: tuple[WeeklyQuality, ...]
    drift: tuple[WeeklyDrift, ...]
    untested: dict[str, str]
    """Week → why it was not tested."""
    inputs: tuple[InputSeries, ...]
    days: dict[str, DailyInputs]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Weeks with an alarm of the error rate, in order."""
        return tuple(each.week for each in self.drift if each.alarm)

    @property
    def last_week(self) -> str | None:
        """The newest measured week."""
        weeks = [each.week for each in self.weeks] + [week.week for each in self.inputs for week in each.weeks]
        return max(weeks, default=None)

    def intervals(self) -> list[tuple[str, Interval | None]]:
        """Return each week with the interval of the error rate that drift is tested on."""
        measured = [(each.week, each.representative) for each in self.weeks]
        return [(week, each.rate.interval if each else None) for week, each in measured]
