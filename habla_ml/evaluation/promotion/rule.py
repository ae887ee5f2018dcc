"""Whether a candidate may be released: one pure function from stored evidence to a verdict with reasons."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from habla_ml.evaluation.comparison.records import Change, Comparison, Parity
from habla_ml.evaluation.scoring.alignment import SCORER_VERSION
from habla_ml.evaluation.scoring.statistics import INTERVAL_RULE, Interval
from habla_ml.model_version import parent_version
from habla_ml.settings import PromotionSettings

Verdict = Literal["deploy", "collect_more", "refuse"]


class Decision(BaseModel):
    """What follows from a comparison, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences for a person; the ones that decided come first."""
    evidence: str
    """Digest of the comparison that was judged."""


def decide(comparison: Comparison, settings: PromotionSettings) -> Decision:
    """Judge the candidate by the plan's rule.

    Refused: no test set, no base to compare with, the base itself, a repeat of another version, figures of another
    scorer, an improvement over the base whose interval reaches zero, a loss on out-of-domain speech above the bound,
    an interval against the previous release that lies wholly on the worse side; more words left out, more output
    where nobody speaks, more invented texts or a large slice that is worse, each beyond its bound and beyond noise;
    or an artefact that says something else than its checkpoint. Otherwise deployed above `deploy_above_relative`;
    more speech is collected below it, or where the test set has too few sessions for an interval to be trusted.
    """
    refusals = _list_refusals(comparison, settings)
    shortcomings = _list_shortcomings(comparison, settings)
    notes = _list_notes(comparison, settings)
    verdict: Verdict = "refuse" if refusals else "collect_more" if shortcomings else "deploy"
    return Decision(verdict=verdict, reasons=(*refusals, *shortcomings, *notes), evidence=comparison.digest())


def _list_refusals(comparison: Comparison, settings: PromotionSettings) -> list[str]:
    candidate, base = comparison.model("candidate"), comparison.model("base")
    if candidate is None:
        return ["There is no candidate in this comparison."]
    if comparison.test.words == 0:
        return ["There is no test set: nothing was measured. Correct some sessions and publish the splits again."]
    if base is None:
        return ["The base model was not scored, so an improvement cannot be stated."]
    if (repeated := parent_version(candidate.name)) is not None:
        return [
            f"It repeats {repeated} with another seed or on less speech, to measure what that changes, and is not "
            "released: the luckiest of several on a test set is no better for it."
        ]
    if candidate.artefact_digest == base.artefact_digest:
        return ["The candidate is the base model itself: its files are the same."]
    if (comparison.method.scorer, comparison.method.interval_rule) != (SCORER_VERSION, INTERVAL_RULE):
        return [
            f"The figures are by {comparison.method.scorer} and {comparison.method.interval_rule}, the present rule "
            f"reads {SCORER_VERSION} and {INTERVAL_RULE}; materialise `wer_report` again, which decodes nothing."
        ]
    found = _check_parity(comparison.parity, settings)
    change = comparison.change("base")
    if change is None or change.relative_improvement is None:
        found.append("The candidate was not compared with the base model.")
    elif change.relative_improvement.high < 0:
        worse = change.relative_improvement
        found.append(
            f"It makes {_format_percent(-worse.value)} more errors than {base.name} (95 % interval {_format_percent(-worse.high)} to "
            f"{_format_percent(-worse.low)})."
        )
    elif change.relative_improvement.low <= 0 or change.points is None or change.points.high >= 0:
        # Both forms of the difference must exclude none: over five sessions either alone is right 97.1 times of 100.
        found.append(
            f"The improvement over {base.name} is {_format_change(change.relative_improvement)}, and that interval "
            "includes no improvement."
        )
    lost = change.out_of_domain_points if change else None
    if lost is not None and lost.value > settings.out_of_domain_loss_points:
        found.append(
            f"Out-of-domain speech became worse by {lost.value:.1f} points ({lost.low:.1f} to {lost.high:.1f}); "
            f"at most {settings.out_of_domain_loss_points:g} are allowed."
        )
    previous = comparison.change("previous")
    if previous is not None and previous.points is not None and previous.points.low > 0:
        found.append(
            f"It is worse than the released {previous.against} by {previous.points.value:.1f} points, beyond "
            f"noise ({previous.points.low:.1f} to {previous.points.high:.1f})."
        )
    for each in (change, previous):
        found += _list_regressions(each, settings) if each is not None else []
    return found


def _list_regressions(change: Change, settings: PromotionSettings) -> list[str]:
    """What became worse beyond its bound and beyond noise, though the whole may be better."""
    invented = change.hallucination
    watched = (
        ("It leaves out words that", change.deletion_points, settings.deletion_loss_points, "of the words"),
        (
            "It writes text where nobody speaks, more than",
            invented.non_speech_points if invented else None,
            settings.non_speech_loss_points,
            "of the silent clips",
        ),
        (
            "It invents texts (loops, stock phrases), more than",
            invented.invented_points if invented else None,
            settings.invented_loss_points,
            "of the clips",
        ),
    )
    found = [
        f"{what} {change.against} {'hears' if 'leaves' in what else 'does'}: {points.value:+.1f} points {unit} "
        f"({points.low:+.1f} to {points.high:+.1f}); at most {bound:+g} are allowed."
        for what, points, bound, unit in watched
        if points is not None and points.value > bound and points.low > 0
    ]
    lost = [each for each in change.slices if each.loss_lower_bound_points > settings.slice_loss_points]
    if lost:
        worst = max(lost, key=lambda each: each.loss_lower_bound_points)
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        found.append(
            f"It is worse than {change.against} on a part of the test set, {worst.dimension.replace('_', ' ')} "
            f"{worst.name!r}{others}: {worst.points.value:+.1f} points, surely {worst.loss_lower_bound_points:+.1f} whichever "
            f"part one looks at; at most {settings.slice_loss_points:+g} are allowed."
        )
    return found


def _check_parity(parity: Parity | None, settings: PromotionSettings) -> list[str]:
    lost = parity.points if parity else None
    if parity is None or lost is None or lost.value <= settings.parity_loss_points:
        return []
    return [
        f"The conversion broke it: what ships makes {lost.value:+.1f} points more errors ({lost.low:+.1f} to "
        f"{lost.high:+.1f}) than the checkpoint on the same {parity.clips} clips, at most "
        f"{settings.parity_loss_points:+g} are allowed; {100 * parity.same_text_share:.0f}\u00a0% of the texts are the "
        "same. Choose another export.ctranslate2_quantisation."
    ]


def _list_shortcomings(comparison: Comparison, settings: PromotionSettings) -> list[str]:
    found = []
    if comparison.test.sessions < settings.fewest_test_sessions:
        found.append(
            f"The test set has {comparison.test.sessions} sessions; an interval over fewer than "
            f"{settings.fewest_test_sessions} cannot be trusted. Correct more sessions."
        )
    change = comparison.change("base")
    relative = change.relative_improvement if change else None
    if relative is None or relative.value > settings.deploy_above_relative:
        return found
    fell, bound = _format_percent(relative.value), _format_percent(settings.deploy_above_relative)
    if relative.value <= 0:
        return found
    if relative.value < settings.collect_below_relative:
        found.append(
            f"Errors fell by {fell}, below {_format_percent(settings.collect_below_relative)}: more corrected speech is "
            "needed."
        )
    else:
        found.append(
            f"Errors fell by {fell}, a marginal gain: not above the {bound} from which a release pays. "
            "Collect more speech."
        )
    return found


def _list_notes(comparison: Comparison, settings: PromotionSettings) -> list[str]:
    change = comparison.change("base")
    if change is None or change.relative_improvement is None:
        return []
    notes = []
    if change.relative_improvement.value > settings.deploy_above_relative:
        notes.append(
            f"Errors fell by {_format_change(change.relative_improvement)} against {change.against}, above the bound of "
            f"{_format_percent(settings.deploy_above_relative)}."
        )
    notes.append(_describe_out_of_domain(change, settings))
    if comparison.parity is None:
        notes.append("Whether what ships says what was trained was not measured: evaluation.parity_clips is 0.")
    previous = comparison.change("previous")
    if previous is not None and previous.points is not None and previous.points.low <= 0:
        notes.append(f"It is not worse than the released {previous.against} beyond noise.")
    return notes


def _describe_out_of_domain(change: Change, settings: PromotionSettings) -> str:
    lost = change.out_of_domain_points
    if lost is None:
        return "Whether general Spanish was forgotten was not measured: there is no out-of-domain set."
    return (
        f"Out-of-domain WER changed by {lost.value:+.1f} points ({lost.low:+.1f} to {lost.high:+.1f}); up to "
        f"{settings.out_of_domain_loss_points:+g} are allowed."
    )


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _format_change(interval: Interval) -> str:
    return f"{_format_percent(interval.value)} (95 % interval {_format_percent(interval.low)} to {_format_percent(interval.high)})"
