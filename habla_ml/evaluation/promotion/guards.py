"""The guards of the promotion rule: bounds on losses that a lower error rate must not hide.

Each guard has one of three results, from the 95 % interval of the loss:

- passed: the whole interval is within the bound.
- failed: the loss is shown, because the interval is above zero, and it is more probably above its bound than within.
- not shown: the data cannot judge, or nothing was measured.

A model without a loss fails a guard in at most 2.5 % of test sets, however few sessions there are. Of the rules with
this property it finds a harmful loss most often; `benchmarks/bench_calibration.py` measures both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, cast

from habla_ml.evaluation.comparison.records import Change, Comparison, Parity, SliceChange
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.metric import Metric, ReleaseGuard
from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import PromotionSettings
from habla_ml.settings.models import GuardName

GuardOutcome = Literal["passed", "failed", "not shown"]


class GuardResult(EvaluationRecord):
    """One guard against one model."""

    name: GuardName
    label: str
    """Name for a person."""
    against: str
    """The model that the candidate must not lose to."""
    points: Interval | None
    """The loss in points, of the worst slice for `slices`; None if it was not measured."""
    bound: float
    """The loss in points that is allowed."""
    outcome: GuardOutcome
    reason: str
    """A sentence that explains the outcome."""


def check_guards(comparison: Comparison, settings: PromotionSettings) -> tuple[GuardResult, ...]:
    """Return the result of every guard against the checkpoint, the base and the release."""
    found = [_check_parity(comparison.parity, settings)]
    for change in (comparison.change("base"), comparison.change("previous")):
        if change is not None:
            guarded = ((each, each.guard) for each in METRICS if each.guard and change.role in each.guard.against)
            found += [_check_metric(metric, guard, change, settings) for metric, guard in guarded]
            found.append(_check_slices(change, settings))
    return tuple(found)


def judge_loss(points: Interval, bound: float) -> GuardOutcome:
    """Return the outcome of a loss with its 95 % interval, in points."""
    if points.high <= bound:
        return "passed"
    return "failed" if points.low > 0 and points.value > bound else "not shown"


def format_points(change: Interval) -> str:
    """Return `+1.5 points (+0.2 to +2.8)`."""
    return f"{change.value:+.1f} points ({change.low:+.1f} to {change.high:+.1f})"


def _check_metric(metric: Metric, guard: ReleaseGuard, change: Change, settings: PromotionSettings) -> GuardResult:
    points, bound = change.metrics.get(metric.name), guard.loss_bound(settings)
    # A test compares the guards of the registry with the names.
    make = partial(
        GuardResult, name=cast("GuardName", metric.name), label=metric.label, against=change.against, bound=bound
    )
    if points is None:
        reason = f"The loss in {metric.label} against {change.against} was not measured."
        return make(points=None, outcome="not shown", reason=reason)
    outcome = judge_loss(points, bound)
    loss, allowed = f"{format_points(points)} {guard.unit}", f"at most {bound:+g} are allowed"
    title = metric.label[:1].upper() + metric.label[1:]
    reason = {
        "passed": f"{title} against {change.against}: {loss}, within the allowed {bound:+g}.",
        "failed": f"It {guard.loss} than {change.against}: {loss}; {allowed}.",
        "not shown": f"The test speech cannot show whether it {guard.loss} than {change.against}: {loss}; {allowed}.",
    }[outcome]
    return make(points=points, outcome=outcome, reason=reason)


def _check_slices(change: Change, settings: PromotionSettings) -> GuardResult:
    bound, against = settings.slice_loss_points, change.against
    make = partial(GuardResult, name="slices", label="large slices", against=against, bound=bound)
    lost = [each for each in change.slices if each.loss_lower_bound_points > bound]
    if lost:
        worst = max(lost, key=lambda each: each.loss_lower_bound_points)
        reason = _describe_slices(lost, worst, against, bound)
        return make(points=worst.points, outcome="failed", reason=reason)
    if not change.slices:
        reason = f"No slice is large enough to compare it with {against}."
        return make(points=None, outcome="not shown", reason=reason)
    worst = max(change.slices, key=lambda each: each.points.high)
    # No correction for many slices is needed here: all of them must be within the bound (an intersection-union test).
    is_shown = worst.points.high <= bound
    reason = (
        f"No slice is worse than {against} by more than {bound:+g} points."
        if is_shown
        else f"The test speech cannot show that {_name_slice(worst)} is no worse than {against}: {format_points(worst.points)}."
    )
    return make(points=worst.points, outcome="passed" if is_shown else "not shown", reason=reason)


def _describe_slices(lost: Sequence[SliceChange], worst: SliceChange, against: str, bound: float) -> str:
    others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"It is worse than {against} on {_name_slice(worst)}{others}: "
        f"{worst.points.value:+.1f} points, at least {worst.loss_lower_bound_points:+.1f} after correction for "
        f"multiple comparisons; at most {bound:+g} are allowed."
    )


def _name_slice(each: SliceChange) -> str:
    if each.dimension in ("speaker", "session"):
        return f"one {each.dimension}"  # the reasons are shown where no name of a person may be
    return f"the slice {each.dimension.replace('_', ' ')} {each.name!r}"


def _check_parity(parity: Parity | None, settings: PromotionSettings) -> GuardResult:
    bound = settings.parity_loss_points
    make = partial(GuardResult, name="parity", label="converted model", against="its checkpoint", bound=bound)
    if parity is None or parity.points is None:
        reason = "The converted model was not compared with its checkpoint: evaluation.parity_clips is 0."
        return make(points=None, outcome="not shown", reason=reason)
    outcome = judge_loss(parity.points, bound)
    measured = (
        f"on the same {parity.clips} clips, its WER is {format_points(parity.points)} above that of the checkpoint"
    )
    same = f"{100 * parity.same_text_share:.0f}\u00a0% of the texts are equal"
    reason = {
        "passed": f"The conversion kept the model: {measured}, within the allowed {bound:+g}, and {same}.",
        "failed": (
            f"The conversion changed the output: {measured}; at most {bound:+g} are allowed, and {same}. Choose another "
            "export.ctranslate2_quantisation."
        ),
        "not shown": (
            f"The clips cannot show whether the conversion changed the output: {measured}; at most {bound:+g} are "
            f"allowed, and {same}. A larger evaluation.parity_clips shows more."
        ),
    }[outcome]
    return make(points=parity.points, outcome=outcome, reason=reason)
