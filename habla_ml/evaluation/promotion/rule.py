"""The promotion rule: a pure function from stored evidence to a verdict with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.promotion.guards import GuardResult, check_guards
from habla_ml.evaluation.promotion.plausibility import list_alarms, list_size_shortcomings
from habla_ml.evaluation.promotion.replacement import describe_superiority, explain_keeping, is_probably_better
from habla_ml.evaluation.promotion.withheld_formats import WithheldFormat, list_withheld_formats
from habla_ml.evaluation.scoring.alignment import SCORER_VERSION
from habla_ml.evaluation.scoring.rates import format_bound, format_percent, format_percent_beside
from habla_ml.evaluation.scoring.statistics import INTERVAL_RULE, Interval
from habla_ml.model_version import parent_version
from habla_ml.settings import PromotionSettings

Verdict = Literal["deploy", "keep", "collect_more", "refuse"]


class Decision(EvaluationRecord):
    """The verdict on a candidate."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences for a person; those that decide are first."""
    guards: tuple[GuardResult, ...] = ()
    """Empty where nothing could be measured."""
    alarms: tuple[str, ...] = ()
    """Signs that the figures are too good to be true; they are also the first reasons."""
    withheld: tuple[WithheldFormat, ...] = ()
    """Export formats that are left out of a release; they do not change the verdict."""
    evidence: str
    """Digest of the comparison."""


def decide(comparison: Comparison, settings: PromotionSettings) -> Decision:
    """Decide whether the candidate may be released.

    The first that applies:

    - refuse: nothing can be measured, the candidate repeats another version, the figures are of another scorer, the
      improvement over the base is not significant, a guard fails, or the error rate is implausibly low.
    - keep: the candidate is not better than the current release with the required probability.
    - collect more: the test set is too small, the errors fell by no more than `deploy_above_relative`, or a guard is not
      shown that `may_stay_unshown` does not name.
    - deploy.
    """
    evidence, unusable = comparison.digest(), _explain_unusable(comparison)
    if unusable is not None:
        return Decision(verdict="refuse", reasons=(unusable,), evidence=evidence)
    guards, alarms = check_guards(comparison, settings), tuple(list_alarms(comparison))
    failed = [each.reason for each in guards if each.outcome == "failed"]
    refusals = [*alarms, *_check_improvement(comparison.change("base")), *failed]
    keeping = explain_keeping(comparison, settings)
    shortcomings = list(_list_shortcomings(comparison, guards, settings))
    withheld = tuple(list_withheld_formats(comparison, settings))
    notes = (*_list_notes(comparison, guards, settings), *(each.reason for each in withheld))
    verdict: Verdict = "refuse" if refusals else "keep" if keeping else "collect_more" if shortcomings else "deploy"
    return Decision(
        verdict=verdict,
        reasons=(*refusals, *keeping, *shortcomings, *notes),
        guards=guards,
        alarms=alarms,
        withheld=withheld,
        evidence=evidence,
    )


def explain_other_method(comparison: Comparison) -> str | None:
    """Return why figures of another scorer or interval rule do not count, or None."""
    if (comparison.method.scorer, comparison.method.interval_rule) == (SCORER_VERSION, INTERVAL_RULE):
        return None
    return (
        f"The evidence uses {comparison.method.scorer} and {comparison.method.interval_rule}, the current code "
        f"{SCORER_VERSION} and {INTERVAL_RULE}. Materialise `wer_report` again; it decodes nothing."
    )


def _explain_unusable(comparison: Comparison) -> str | None:
    """Return why no improvement can be measured at all, or None."""
    candidate, base = comparison.model("candidate"), comparison.model("base")
    if candidate is None:
        return "The comparison has no candidate."
    if comparison.test.words == 0:
        return "There is no test set, so nothing was measured. Correct some sessions and publish the splits again."
    if base is None:
        return "The base model was not scored, so the improvement is unknown."
    if (repeated := parent_version(candidate.name)) is not None:
        return (
            f"{candidate.name} repeats {repeated} with another seed or on less speech to measure their effect. Repeats "
            "are not released: the best of several on one test set is not better on other speech."
        )
    if candidate.artefact_digest == base.artefact_digest:
        return "The candidate has the same files as the base model."
    return explain_other_method(comparison)


def _check_improvement(change: Change | None) -> Iterator[str]:
    if change is None or change.relative_improvement is None:
        yield "The candidate was not compared with the base model."
        return
    relative = change.relative_improvement
    if relative.high < 0:
        yield (
            f"It makes {format_percent(-relative.value)} more errors than {change.against} (95 % interval "
            f"{format_percent(-relative.high)} to {format_percent(-relative.low)})."
        )
    elif relative.low <= 0 or change.points is None or change.points.high >= 0:
        # Both forms must exclude zero: with five sessions, either alone is right in 97.1 % of test sets.
        yield (
            f"The improvement over {change.against} is {_format_change(relative)}, which is not significant in percent "
            "and in points."
        )


def _list_shortcomings(
    comparison: Comparison, guards: Sequence[GuardResult], settings: PromotionSettings
) -> Iterator[str]:
    yield from list_size_shortcomings(comparison, settings)
    yield from (
        f"{each.reason} promotion.may_stay_unshown does not name {each.name}."
        for each in guards
        if each.outcome == "not shown" and each.name not in settings.may_stay_unshown
    )
    change = comparison.change("base")
    relative = change.relative_improvement if change else None
    if relative is None or not 0 < relative.value <= settings.deploy_above_relative:
        return
    is_small = relative.value < settings.collect_below_relative
    bound = settings.collect_below_relative if is_small else settings.deploy_above_relative
    fell, needed = format_percent_beside(relative.value, bound), format_bound(bound)
    if is_small:
        yield f"Errors fell by {fell}, below {needed}. Collect more corrected speech."
    else:
        yield f"Errors fell by {fell}, a marginal gain: a release needs more than {needed}. Collect more speech."


def _list_notes(comparison: Comparison, guards: Sequence[GuardResult], settings: PromotionSettings) -> Iterator[str]:
    base, previous = comparison.change("base"), comparison.change("previous")
    relative = None if base is None else base.relative_improvement
    if previous is not None and is_probably_better(previous, settings):
        yield describe_superiority(previous, settings)
    if base is not None and relative is not None and relative.value > settings.deploy_above_relative:
        yield (
            f"Errors fell by {format_percent_beside(relative.value, settings.deploy_above_relative)} (95 % interval "
            f"{format_percent(relative.low)} to {format_percent(relative.high)}) against {base.against}, above the bound of "
            f"{format_bound(settings.deploy_above_relative)}."
        )
    unshown = [each for each in guards if each.outcome == "not shown" and each.name in settings.may_stay_unshown]
    if unshown:
        listed = ", ".join(
            f"{each.label} against {each.against}{'' if each.points else ' (not measured)'}" for each in unshown
        )
        yield f"This speech cannot show whether a loss is within its bound, and the settings allow that: {listed}."


def _format_change(interval: Interval) -> str:
    value, low, high = map(format_percent, (interval.value, interval.low, interval.high))
    return f"{value} (95 % interval {low} to {high})"
