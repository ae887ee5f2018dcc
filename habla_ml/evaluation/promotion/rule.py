"""The promotion rule: a pure function from stored evidence to a verdict with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from habla_ml.evaluation.comparison.records import Change, Comparison, Parity
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.error_rates import OUT_OF_DOMAIN_WER
from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.scoring.alignment import SCORER_VERSION
from habla_ml.evaluation.scoring.statistics import INTERVAL_RULE, Interval
from habla_ml.model_version import parent_version
from habla_ml.settings import PromotionSettings

Verdict = Literal["deploy", "collect_more", "refuse"]


class Decision(EvaluationRecord):
    """The verdict on a candidate."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences for a person; those that decide are first."""
    evidence: str
    """Digest of the comparison."""


def decide(comparison: Comparison, settings: PromotionSettings) -> Decision:
    """Decide whether the candidate may be released.

    Refuse without a test set, a base or a candidate; for a repeat of another version; for figures of another scorer;
    if the improvement over the base is not significant; if general Spanish, deletions, text without speech, invented
    text, a large slice or the conversion lose more than their bounds; or if the candidate is significantly worse than
    the current release. Otherwise collect more speech if the test set has too few sessions or the errors fell by no
    more than `deploy_above_relative`, else deploy.
    """
    refusals = list(_list_refusals(comparison, settings))
    shortcomings = list(_list_shortcomings(comparison, settings))
    verdict: Verdict = "refuse" if refusals else "collect_more" if shortcomings else "deploy"
    reasons = (*refusals, *shortcomings, *_list_notes(comparison, settings))
    return Decision(verdict=verdict, reasons=reasons, evidence=comparison.digest())


def _list_refusals(comparison: Comparison, settings: PromotionSettings) -> Iterator[str]:
    unusable = _explain_unusable(comparison)
    if unusable is not None:
        yield unusable
        return
    yield from _check_parity(comparison.parity, settings)
    change, previous = comparison.change("base"), comparison.change("previous")
    yield from _check_improvement(change)
    if change is not None:
        yield from _list_regressions(change, settings)
    if previous is not None:
        if previous.points is not None and previous.points.low > 0:
            yield f"It is significantly worse than the released {previous.against}: {_format_points(previous.points)}."
        yield from _list_regressions(previous, settings)


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
    if (comparison.method.scorer, comparison.method.interval_rule) != (SCORER_VERSION, INTERVAL_RULE):
        return (
            f"The evidence uses {comparison.method.scorer} and {comparison.method.interval_rule}, the current code "
            f"{SCORER_VERSION} and {INTERVAL_RULE}. Materialise `wer_report` again; it decodes nothing."
        )
    return None


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


def _list_regressions(change: Change, settings: PromotionSettings) -> Iterator[str]:
    """List the guarded metrics and the slices that became worse by more than their bounds."""
    for metric in METRICS:
        points, guard = change.metrics.get(metric.name), metric.guard
        if points is None or guard is None or change.role not in guard.against:
            continue
        bound = guard.loss_bound(settings)
        if points.value > bound and (points.low > 0 or not guard.needs_significance):
            yield (
                f"It {guard.loss} than {change.against}: {_format_points(points)} {guard.unit}; at most {bound:+g} are "
                "allowed."
            )
    lost = [each for each in change.slices if each.loss_lower_bound_points > settings.slice_loss_points]
    if lost:
        worst = max(lost, key=lambda each: each.loss_lower_bound_points)
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        yield (
            f"It is worse than {change.against} on the slice {worst.dimension.replace('_', ' ')} {worst.name!r}{others}: "
            f"{worst.points.value:+.1f} points, at least {worst.loss_lower_bound_points:+.1f} after correction for "
            f"multiple comparisons; at most {settings.slice_loss_points:+g} are allowed."
        )


def _check_parity(parity: Parity | None, settings: PromotionSettings) -> Iterator[str]:
    if parity is not None and parity.points is not None and parity.points.value > settings.parity_loss_points:
        yield (
            f"The conversion changed the output: on the same {parity.clips} clips, the WER of the converted model is "
            f"{_format_points(parity.points)} above that of the checkpoint; at most {settings.parity_loss_points:+g} are "
            f"allowed, and {format_percent(parity.same_text_share)} of the texts are equal. Choose another "
            "export.ctranslate2_quantisation."
        )


def _list_shortcomings(comparison: Comparison, settings: PromotionSettings) -> Iterator[str]:
    if comparison.test.sessions < settings.fewest_test_sessions:
        yield (
            f"The test set has {comparison.test.sessions} sessions; a reliable interval needs at least "
            f"{settings.fewest_test_sessions}. Correct more sessions."
        )
    change = comparison.change("base")
    relative = change.relative_improvement if change else None
    if relative is None or not 0 < relative.value <= settings.deploy_above_relative:
        return
    fell, bound = format_percent(relative.value), format_percent(settings.deploy_above_relative)
    if relative.value < settings.collect_below_relative:
        yield f"Errors fell by {fell}, below {format_percent(settings.collect_below_relative)}. Collect more corrected speech."
    else:
        yield f"Errors fell by {fell}, a marginal gain: a release needs more than {bound}. Collect more speech."


def _list_notes(comparison: Comparison, settings: PromotionSettings) -> Iterator[str]:
    change = comparison.change("base")
    if change is None or change.relative_improvement is None:
        return
    if change.relative_improvement.value > settings.deploy_above_relative:
        yield (
            f"Errors fell by {_format_change(change.relative_improvement)} against {change.against}, above the bound of "
            f"{format_percent(settings.deploy_above_relative)}."
        )
    if (lost := change.metrics.get(OUT_OF_DOMAIN_WER.name)) is None:
        yield "General Spanish was not measured: there is no out-of-domain set."
    else:
        allowed = f"up to {settings.out_of_domain_loss_points:+g} are allowed"
        yield f"The WER on general Spanish changed by {_format_points(lost)}; {allowed}."
    if comparison.parity is None:
        yield "The converted model was not compared with its checkpoint: evaluation.parity_clips is 0."
    previous = comparison.change("previous")
    if previous is not None and previous.points is not None and previous.points.low <= 0:
        yield f"It is not significantly worse than the released {previous.against}."


def format_percent(share: float) -> str:
    """Return `0.123` as `12 %`, with a non-breaking space."""
    return f"{100 * share:.0f}\u00a0%"


def _format_points(change: Interval) -> str:
    return f"{change.value:+.1f} points ({change.low:+.1f} to {change.high:+.1f})"


def _format_change(interval: Interval) -> str:
    value, low, high = map(format_percent, (interval.value, interval.low, interval.high))
    return f"{value} (95 % interval {low} to {high})"
