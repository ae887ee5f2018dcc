"""What a teacher must understand in ten seconds: better or not, how sure, where."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.evaluation.comparison.records import Change, Comparison, ModelScore, Slice
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.figures import format_error_reduction, percent, points
from habla_ml.evaluation.report.seed_spread import describe_seed_spread

VERDICT_LABELS = {
    "deploy": "Release it",
    "collect_more": "Collect more speech first",
    "refuse": "Do not release it",
}
NO_VERDICT = "A comparison; it decides no release"


@dataclass(frozen=True)
class Summary:
    """Plain sentences; nothing here needs statistics to be read."""

    headline: str
    verdict: str
    result: str
    confidence: str
    by_loudness: tuple[str, ...]
    general_speech: str
    seeds: str = ""
    """How far other seeds of the same training lie apart; empty where there are none."""


def summarise(content: Content) -> Summary:
    """Say in words what the comparison shows."""
    comparison, decision = content.comparison, content.decision
    verdict = VERDICT_LABELS[decision.verdict] if decision else NO_VERDICT
    candidate, base = comparison.model("candidate"), comparison.model("base")
    change = comparison.change("base")
    if candidate is None and decision is None and comparison.changes and comparison.test.words:
        return _summarise_models(content, verdict)
    name = candidate.name if candidate else "the candidate"
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        return Summary(
            headline=f"Nothing can be said about {name}",
            verdict=verdict,
            result="There is nothing to compare: no test speech, or no base model, was scored.",
            confidence="",
            by_loudness=(),
            general_speech="",
        )
    return Summary(
        headline=_write_headline(change),
        verdict=verdict,
        result=f"Of 100 words spoken in class, {base.name} gets {_format_wrong_words(base)} wrong, {name} {_format_wrong_words(candidate)}.",
        confidence=f"{_describe_confidence(comparison, change)} {describe_detectable_difference(change)}".strip(),
        by_loudness=tuple(
            _describe_slice(each, base.name, name)
            for each in sorted(comparison.slices, key=lambda each: each.name, reverse=True)
            if each.dimension == "loudness" and not each.too_small
        ),
        general_speech=_describe_general_speech(comparison, change),
        seeds=describe_seed_spread(comparison),
    )


def describe_detectable_difference(change: Change) -> str:
    """How small a difference this test set can show, in words; empty where it is not known."""
    if change.smallest_detectable_points is None:
        return ""
    return (
        f"A true difference of {change.smallest_detectable_points:.1f} points would be told from none in four of "
        "five such tests; a smaller one is easily missed."
    )


def describe_small_test_set(content: Content) -> str:
    """That a comparison takes more clips, where it does; else empty."""
    clips, fewest = content.comparison.test.utterances, content.acceptable.fewest_clips
    return "" if clips >= fewest else f"fewer than the {fewest} clips that a comparison takes"


def _summarise_models(content: Content, verdict: str) -> Summary:
    comparison, best = content.comparison, content.focus
    first = comparison.models[0]
    change = next((each for each in comparison.changes if each.of == best.name), None)
    said = ", ".join(f"{each.name} {_format_wrong_words(each)}" for each in comparison.models)
    return Summary(
        headline=_write_headline(change) if change else f"None makes clearly fewer word errors than {first.name}",
        verdict=verdict,
        result=f"Of 100 words spoken, so many are wrong: {said}.",
        confidence=f"{_describe_confidence(comparison, change)} {describe_detectable_difference(change)}".strip()
        if change
        else "",
        by_loudness=tuple(
            f"{each.of} makes {format_error_reduction(each.relative_improvement)} errors than {each.against}."
            for each in comparison.changes
            if each.against == first.name
        ),
        general_speech=_describe_general_speech(comparison, change) if change else "",
    )


def _write_headline(change: Change) -> str:
    relative, name, base = change.relative_improvement, change.of, change.against
    if relative is None or relative.low <= 0 <= relative.high:
        return f"{name} is not clearly better than {base}"
    if relative.value < 0:
        return f"{name} is worse than {base}"
    return f"{name} makes {percent(relative.value, 0)} fewer word errors than {base}"


def _format_wrong_words(model: ModelScore) -> str:
    return "–" if model.wer.value is None else f"{100 * model.wer.value:.1f}"


def _describe_confidence(comparison: Comparison, change: Change) -> str:
    relative = change.relative_improvement
    if relative is None:
        return ""
    measured = f"Measured on {comparison.test.words} words of {comparison.test.sessions} sessions kept for testing"
    low, high = sorted((relative.low, relative.high))
    if low > 0:
        return f"{measured}: with 95 % confidence between {percent(low, 0)} and {percent(high, 0)} fewer errors."
    if high < 0:
        return f"{measured}: with 95 % confidence between {percent(-high, 0)} and {percent(-low, 0)} more errors."
    return f"{measured}: anything from {percent(-low, 0)} more errors to {percent(high, 0)} fewer fits the data."


def _describe_slice(each: Slice, base: str, candidate: str) -> str:
    rates = {rate.model: rate.rate.value for rate in each.rates}
    before, after = rates[base], rates[candidate]
    kind = each.name.partition(" ")[0].capitalize()
    told = f"{kind} speech: {percent(before)} of the words wrong with {base}, {percent(after)} with {candidate}"
    return f"{told}; {format_error_reduction(each.improvement)}." if each.improvement else f"{told}."


def _describe_general_speech(comparison: Comparison, change: Change) -> str:
    lost = change.out_of_domain_points
    if lost is None or comparison.out_of_domain is None:
        return "Whether general Spanish suffered was not measured."
    between = f"{points(lost.value)} points, {points(lost.low)} to {points(lost.high)}"
    if lost.low <= 0 <= lost.high:
        return f"General Spanish stayed the same within noise ({between})."
    return f"General Spanish became {'worse' if lost.value > 0 else 'better'} ({between})."
