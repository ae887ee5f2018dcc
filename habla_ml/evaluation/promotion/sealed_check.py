"""Whether the sealed sessions confirm what the test set shows: a pure function of stored evidence.

The sealed sessions and the test sessions are different, so their results are independent. The interval of the difference
between two independent estimates follows from their intervals (square-and-add: G. Y. Zou and A. Donner, Construction of
confidence limits about effect measures, Statistics in Medicine 27 (2008), 1693-1702).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.sealed_result import SealedChange, SealedResult
from habla_ml.evaluation.promotion.guards import format_points
from habla_ml.evaluation.scoring.statistics import Interval


@dataclass(frozen=True)
class SealedJudgement:
    """What the sealed sessions say about a version, in sentences."""

    objections: tuple[str, ...] = ()
    """The version is significantly worse than the base or the release; each forbids the release."""
    warnings: tuple[str, ...] = ()
    """Open and sealed results disagree beyond noise, or the result is about other files or another release."""
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences, the gravest first."""
        return (*self.objections, *self.warnings, *self.notes)


def judge_sealed(result: SealedResult | None, comparison: Comparison) -> SealedJudgement:
    """Compare the sealed result of a version with the evidence on the open test set; nothing where there is no result.

    A version that is significantly worse than the base or the release on sealed speech is not released: neither was
    chosen on it. A smaller gain than on the open test set is a warning, and no reason to refuse a better model.
    """
    if result is None:
        return SealedJudgement()
    candidate = comparison.model("candidate")
    warnings = []
    if candidate is None or candidate.artefact_digest != result.artefact_digest:
        warnings.append(
            f"The sealed sessions were decoded with other files of {result.version}. They are decoded once for each version, "
            "so there is no sealed result of the present files."
        )
    objections, notes = [], [_describe_rates(result)]
    for change in result.changes:
        if change.points.low > 0:
            objections.append(
                f"On the sealed sessions it is significantly worse than {change.against}: {format_points(change.points)}."
            )
        compared = _compare_with_open(change, comparison)
        if compared is not None:
            (warnings if compared.is_beyond_noise else notes).append(compared.sentence)
    return SealedJudgement(tuple(objections), tuple(warnings), tuple(notes))


def subtract_independent(left: Interval, right: Interval) -> Interval:
    """Return `left` − `right` of two independent estimates with its interval."""
    value = left.value - right.value
    below = math.hypot(left.value - left.low, right.high - right.value)
    above = math.hypot(left.high - left.value, right.value - right.low)
    return Interval(value - below, value, value + above)


@dataclass(frozen=True)
class _ComparedResults:
    is_beyond_noise: bool
    sentence: str


def _compare_with_open(change: SealedChange, comparison: Comparison) -> _ComparedResults | None:
    """Return whether the paired difference differs between the sealed and the open sessions; None where unknown."""
    opened = next((each for each in comparison.changes if each.against == change.against), None)
    if opened is None or opened.points is None:
        return None
    gap = subtract_independent(change.points, opened.points)
    figures = f"{format_points(opened.points)} on the test set, {format_points(change.points)} on the sealed sessions"
    if gap.low <= 0 <= gap.high:
        return _ComparedResults(False, f"Open and sealed sessions agree within noise on {change.against}: {figures}.")
    better = "better" if gap.value > 0 else "worse"
    return _ComparedResults(
        True,
        f"Open and sealed sessions disagree beyond noise: against {change.against} it changes by {figures}. It looks "
        f"{better} on the test set, by {abs(gap.value):.1f} points (95 % interval {_format_range(gap)}).",
    )


def _describe_rates(result: SealedResult) -> str:
    rates = ", ".join(f"{each.name} {_format_rate(each.rate.interval)}" for each in result.models)
    return (
        f"WER on {result.words} words of {result.sessions} sealed sessions, which no other step decodes: {rates}. "
        f"Versions that were scored on them so far: {result.looks}."
    )


def _format_rate(rate: Interval | None) -> str:
    return "–" if rate is None else f"{100 * rate.value:.1f}\u00a0% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _format_range(gap: Interval) -> str:
    low, high = sorted((abs(gap.low), abs(gap.high)))
    return f"{low:.1f} to {high:.1f}"
