"""The top of a report: better or not, how certain, and on which speech, in sentences for a teacher."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.evaluation.comparison.records import Change, Comparison, ModelScore, Slice
from habla_ml.evaluation.metrics.error_rates import OUT_OF_DOMAIN_WER
from habla_ml.evaluation.promotion.sealed_check import judge_sealed
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.figures import format_error_reduction, percent, points_with_interval
from habla_ml.evaluation.report.sentences import describe_reuse, describe_seed_spread

_VERDICT_LABELS = {
    "deploy": "Release it",
    "keep": "Keep {release}",
    "collect_more": "Collect more speech first",
    "refuse": "Do not release it",
}
_NO_VERDICT = "A comparison without a release decision"


@dataclass(frozen=True)
class Summary:
    """Sentences that need no statistics to read; empty where nothing is known."""

    headline: str
    verdict: str
    result: str
    confidence: str = ""
    details: tuple[str, ...] = ()
    """Objections of the sealed sessions, loudness, general Spanish, the spread over seeds, and the looks at the test set."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything below the headline and the verdict."""
        return tuple(each for each in (self.result, self.confidence, *self.details) if each)


def summarise(content: ReportContent) -> Summary:
    """Describe what the comparison shows."""
    comparison, decision = content.comparison, content.decision
    previous = comparison.change("previous")
    release = previous.against if previous else "the release"
    verdict = _VERDICT_LABELS[decision.verdict].format(release=release) if decision else _NO_VERDICT
    candidate, base = comparison.model("candidate"), comparison.model("base")
    change = comparison.change("base")
    if candidate is None and decision is None and comparison.changes and comparison.test.words:
        return _summarise_models(content)
    name = candidate.name if candidate else "the candidate"
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        return Summary(
            headline=f"No comparison of {name} with the base model",
            verdict=verdict,
            result="No test speech or no base model was scored.",
        )
    by_loudness = (
        _describe_slice(each, base.name, name)
        for each in sorted(comparison.slices, key=lambda each: each.name, reverse=True)
        if each.dimension == "loudness" and not each.too_small
    )
    general = _describe_general_speech(comparison, change)
    sealed = judge_sealed(content.sealed, comparison)
    details = (
        *(*sealed.objections, *sealed.warnings),
        *by_loudness,
        *(general, describe_seed_spread(comparison), describe_reuse(comparison)),
    )
    return Summary(
        headline=_write_release_headline(previous, change) if previous else _write_headline(change),
        verdict=verdict,
        result=(
            f"Of 100 words spoken in class, {base.name} gets {_format_wrong_words(base)} wrong, "
            f"{name} {_format_wrong_words(candidate)}."
        ),
        confidence=_describe_confidence(comparison, change),
        details=tuple(each for each in details if each),
    )


def _summarise_models(content: ReportContent) -> Summary:
    comparison, best = content.comparison, content.focus
    first = comparison.models[0]
    change = next((each for each in comparison.changes if each.of == best.name), None)
    wrong = ", ".join(f"{each.name} {_format_wrong_words(each)}" for each in comparison.models)
    details = [content.warning] if content.warning else []
    details += [
        f"{each.of} makes {format_error_reduction(each.relative_improvement)} word errors than {each.against}."
        for each in comparison.changes
        if each.against == first.name
    ]
    if change:
        details.append(_describe_general_speech(comparison, change))
    return Summary(
        headline=_write_headline(change) if change else f"No model makes fewer word errors than {first.name}",
        verdict=_NO_VERDICT,
        result=f"Wrong words of 100 spoken words: {wrong}.",
        confidence=_describe_confidence(comparison, change) if change else "",
        details=tuple(details),
    )


def _write_release_headline(previous: Change, base: Change) -> str:
    """Name the release that the candidate would replace, and the base."""
    evidence = previous.superiority
    probability = f", better with probability {evidence.probability_text}" if evidence else ""
    relative = base.relative_improvement
    is_unsure = relative is not None and relative.low <= 0 <= relative.high
    return (
        f"{previous.of} against {previous.against} (released): {_describe_reduction(previous)}{probability}; "
        f"against {base.against}: {_describe_reduction(base)}{' (not significant)' if is_unsure else ''}"
    )


def _describe_reduction(change: Change) -> str:
    relative = change.relative_improvement
    if relative is None:
        return "not measured"
    return f"{percent(abs(relative.value), 0)} {'more' if relative.value < 0 else 'fewer'} word errors"


def _write_headline(change: Change) -> str:
    relative, name, base = change.relative_improvement, change.of, change.against
    if relative is None or relative.low <= 0 <= relative.high:
        return f"{name} is not significantly better than {base}"
    if relative.value < 0:
        return f"{name} is worse than {base}"
    return f"{name} makes {percent(relative.value, 0)} fewer word errors than {base}"


def _format_wrong_words(model: ModelScore) -> str:
    return "–" if model.wer.value is None else f"{100 * model.wer.value:.1f}"


def _describe_confidence(comparison: Comparison, change: Change) -> str:
    relative = change.relative_improvement
    if relative is None:
        return ""
    low, high = relative.low, relative.high
    if low > 0:
        interval = f"{percent(low, 0)} to {percent(high, 0)} fewer errors"
    elif high < 0:
        interval = f"{percent(-high, 0)} to {percent(-low, 0)} more errors"
    else:
        interval = f"from {percent(-low, 0)} more to {percent(high, 0)} fewer errors"
    sentence = (
        f"Measured on {comparison.test.words} words of {comparison.test.sessions} test sessions. "
        f"95 % confidence interval: {interval}."
    )
    if change.smallest_detectable_points is not None:
        sentence += (
            f" This test set detects a true difference of {change.smallest_detectable_points:.1f} points in "
            "four of five cases; it often misses smaller ones."
        )
    return sentence


def _describe_slice(each: Slice, base: str, candidate: str) -> str:
    rates = {rate.model: rate.rate.value for rate in each.rates}
    kind = each.name.partition(" ")[0].capitalize()
    sentence = (
        f"{kind} speech: {percent(rates[base])} of the words wrong with {base}, "
        f"{percent(rates[candidate])} with {candidate}"
    )
    return f"{sentence}; errors: {format_error_reduction(each.improvement)}." if each.improvement else f"{sentence}."


def _describe_general_speech(comparison: Comparison, change: Change) -> str:
    lost = change.metrics.get(OUT_OF_DOMAIN_WER.name)
    if lost is None or comparison.out_of_domain is None:
        return "General Spanish was not measured."
    if lost.low <= 0 <= lost.high:
        return f"General Spanish: no significant change, {points_with_interval(lost)} points."
    return f"General Spanish became {'worse' if lost.value > 0 else 'better'}: {points_with_interval(lost)} points."
