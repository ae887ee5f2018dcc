"""What a teacher must understand in ten seconds: better or not, how sure, where."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.evaluation.comparison import Change, Comparison, ModelScore, Slice
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.figures import fewer_errors, percent, points
from habla_ml.evaluation.report.spread import told_spread

VERDICTS = {
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
    better: str
    sure: str
    where: tuple[str, ...]
    general: str
    seeds: str = ""
    """How far other seeds of the same training lie apart; empty where there are none."""


def summarise(content: Content) -> Summary:
    """Say in words what the comparison shows."""
    comparison, decision = content.comparison, content.decision
    verdict = VERDICTS[decision.verdict] if decision else NO_VERDICT
    candidate, base = comparison.model("candidate"), comparison.model("base")
    change = comparison.change("base")
    if candidate is None and decision is None and comparison.changes and comparison.test.words:
        return _of_contenders(content, verdict)
    name = candidate.name if candidate else "the candidate"
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        return Summary(
            headline=f"Nothing can be said about {name}",
            verdict=verdict,
            better="There is nothing to compare: no test speech, or no base model, was scored.",
            sure="",
            where=(),
            general="",
        )
    return Summary(
        headline=_headline(change),
        verdict=verdict,
        better=f"Of 100 words spoken in class, {base.name} gets {_wrong(base)} wrong, {name} {_wrong(candidate)}.",
        sure=f"{_sure(comparison, change)} {detectable(change)}".strip(),
        where=tuple(
            _place(each, base.name, name)
            for each in sorted(comparison.slices, key=lambda each: each.name, reverse=True)
            if each.dimension == "loudness" and not each.too_small
        ),
        general=_general(comparison, change),
        seeds=told_spread(comparison),
    )


def detectable(change: Change) -> str:
    """How small a difference this test set can show, in words; empty where it is not known."""
    if change.smallest_detectable_points is None:
        return ""
    return (
        f"A true difference of {change.smallest_detectable_points:.1f} points would be told from none in four of "
        "five such tests; a smaller one is easily missed."
    )


def few_clips(content: Content) -> str:
    """That a comparison takes more clips, where it does; else empty."""
    clips, fewest = content.comparison.test.utterances, content.acceptable.fewest_clips
    return "" if clips >= fewest else f"fewer than the {fewest} clips that a comparison takes"


def _of_contenders(content: Content, verdict: str) -> Summary:
    comparison, best = content.comparison, content.focus
    first = comparison.models[0]
    change = next((each for each in comparison.changes if each.of == best.name), None)
    said = ", ".join(f"{each.name} {_wrong(each)}" for each in comparison.models)
    return Summary(
        headline=_headline(change) if change else f"None makes clearly fewer word errors than {first.name}",
        verdict=verdict,
        better=f"Of 100 words spoken, so many are wrong: {said}.",
        sure=f"{_sure(comparison, change)} {detectable(change)}".strip() if change else "",
        where=tuple(
            f"{each.of} makes {fewer_errors(each.relative_improvement)} errors than {each.against}."
            for each in comparison.changes
            if each.against == first.name
        ),
        general=_general(comparison, change) if change else "",
    )


def _headline(change: Change) -> str:
    relative, name, base = change.relative_improvement, change.of, change.against
    if relative is None or relative.low <= 0 <= relative.high:
        return f"{name} is not clearly better than {base}"
    if relative.value < 0:
        return f"{name} is worse than {base}"
    return f"{name} makes {percent(relative.value, 0)} fewer word errors than {base}"


def _wrong(model: ModelScore) -> str:
    return "–" if model.wer.value is None else f"{100 * model.wer.value:.1f}"


def _sure(comparison: Comparison, change: Change) -> str:
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


def _place(each: Slice, base: str, candidate: str) -> str:
    rates = {rate.model: rate.rate.value for rate in each.rates}
    before, after = rates[base], rates[candidate]
    kind = each.name.partition(" ")[0].capitalize()
    told = f"{kind} speech: {percent(before)} of the words wrong with {base}, {percent(after)} with {candidate}"
    return f"{told}; {fewer_errors(each.improvement)}." if each.improvement else f"{told}."


def _general(comparison: Comparison, change: Change) -> str:
    lost = change.out_of_domain_points
    if lost is None or comparison.out_of_domain is None:
        return "Whether general Spanish suffered was not measured."
    between = f"{points(lost.value)} points, {points(lost.low)} to {points(lost.high)}"
    if lost.low <= 0 <= lost.high:
        return f"General Spanish stayed the same within noise ({between})."
    return f"General Spanish became {'worse' if lost.value > 0 else 'better'} ({between})."
