"""What is known of a release since its release: the record that the lake keeps, the UI shows and a report may draw.

Counts and figures only: no text, no segment, no session and no name, so that nothing of a withdrawn consent stands in
it. Digests of what a figure was computed from are cut to 32 digits: they say whether it changed and name no object.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval

InputName = Literal[
    "loudness_dbfs", "snr_db", "clipped", "duration_s", "rejected", "unseen_speakers", "unknown_words"
]


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
    """What people corrected in one week, against what the released model hears there."""

    week: str
    """Monday, `YYYY-MM-DD`; a correction counts where it was made, whenever the words were spoken."""
    inputs: str
    """Digest of references and decoding; the same digest is the same figures."""
    representative: WeeklyRate | None
    """Drawn at random or never chosen by a review queue; what drift is judged on. None without such corrections."""
    uncertain: WeeklyRate | None
    """Chosen by a review queue because they seemed difficult: shown beside, never judged."""
    conventions: str | None
    """Digest of the conventions of the references; None where days differ."""


class WeeklyDrift(EvaluationRecord):
    """The detector after one week."""

    week: str
    excess: float
    """How far beyond what is tolerated, in standard errors."""
    evidence: float
    """Compare with the series' bound."""
    alarm: bool


class ReleaseLevel(EvaluationRecord):
    """The error rate that the release was published with, on its own test set."""

    rate: ErrorRate
    log_standard_error: float
    sessions: int
    tolerated: float
    """Error rate up to which nothing has happened."""


class WeeklyInput(EvaluationRecord):
    """An input in one week of recording."""

    week: str
    value: float
    standard_error: float
    units: float
    """Effective number of sessions."""


class InputSeries(EvaluationRecord):
    """One property of what is recorded, before and after the release."""

    name: InputName
    level: float
    """Over the reference weeks."""
    allowance: float
    """How far from the level nothing has happened yet."""
    reference: tuple[WeeklyInput, ...]
    weeks: tuple[WeeklyInput, ...]
    rise: tuple[WeeklyDrift, ...]
    fall: tuple[WeeklyDrift, ...]
    """Empty where only a rise matters; so is `rise` where only a fall does."""
    bound: float
    """Evidence at which a side is an alarm."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Weeks of an alarm, in order."""
        return tuple(sorted({each.week for each in (*self.rise, *self.fall) if each.alarm}))


class RatioSums(EvaluationRecord):
    """Totals over sessions from which a ratio y / x and its standard error follow; those of several days add up."""

    units: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def __add__(self, other: RatioSums) -> RatioSums:
        return RatioSums(
            units=self.units + other.units,
            x=self.x + other.x,
            y=self.y + other.y,
            xx=self.xx + other.xx,
            xy=self.xy + other.xy,
            yy=self.yy + other.yy,
        )


class DailyInputs(EvaluationRecord):
    """A day's recordings, summed."""

    inputs: str
    """Digest of the day's facts and of who was trained on."""
    sums: dict[str, RatioSums]


class MonitoredRelease(EvaluationRecord):
    """A release and everything that was measured since."""

    format: Literal["habla_ml.watched_release/1"] = "habla_ml.watched_release/1"
    version: str
    """Model version, as `v2`."""
    release: str
    """As `2026.11.21-v2`."""
    released_at: AwareDatetime
    level: ReleaseLevel
    bound: float
    """Evidence at which the error rate's drift is an alarm."""
    weeks: tuple[WeeklyQuality, ...]
    drift: tuple[WeeklyDrift, ...]
    """The weeks that were tested."""
    untested: dict[str, str]
    """Week → why it was not tested."""
    inputs: tuple[InputSeries, ...]
    days: dict[str, DailyInputs]
    """Kept so that a day is read once."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Weeks after which the error rate was above what is tolerated beyond doubt, in order."""
        return tuple(each.week for each in self.drift if each.alarm)

    @property
    def last_week(self) -> str | None:
        """The newest week that anything is known of."""
        measured = [each.week for each in self.weeks]
        return max([*measured, *(week.week for each in self.inputs for week in each.weeks)], default=None)

    def intervals(self) -> tuple[tuple[str, Interval | None], ...]:
        """Week and error rate with its interval, of the corrections that drift is judged on."""
        return tuple(
            (each.week, each.representative.rate.interval if each.representative else None) for each in self.weeks
        )
