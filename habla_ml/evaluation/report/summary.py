"""What a teacher must understand in ten seconds: better or not, how sure, where."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.evaluation.comparison import Change, Comparison, ModelScore, Slice
from habla_ml.evaluation.promotion import Decision
from habla_ml.evaluation.report.figures import percent, points

VERDICTS = {
    "deploy": "Release it",
    "collect_more": "Collect more speech first",
    "refuse": "Do not release it",
}


@dataclass(frozen=True)
class Summary:
    """Plain sentences; nothing here needs statistics to be read."""

    headline: str
    verdict: str
    better: str
    sure: str
    where: tuple[str, ...]
    general: str


def summarise(comparison: Comparison, decision: Decision) -> Summary:
    """Say in words what the comparison shows."""
    candidate, base = comparison.model("candidate"), comparison.model("base")
    change = comparison.change("base")
    name = candidate.name if candidate else "the candidate"
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        return Summary(
            headline=f"Nothing can be said about {name}",
            verdict=VERDICTS[decision.verdict],
            better="There is nothing to compare: no test speech, or no base model, was scored.",
            sure="",
            where=(),
            general="",
        )
    return Summary(
        headline=_headline(name, base.name, change),
        verdict=VERDICTS[decision.verdict],
        better=f"Of 100 words spoken in class, {base.name} gets {_wrong(base)} wrong, {name} {_wrong(candidate)}.",
        sure=_sure(comparison, change),
        where=tuple(
            _place(each, base.name, name)
            for each in sorted(comparison.slices, key=lambda each: each.name, reverse=True)
            if each.dimension == "loudness" and not each.too_small
        ),
        general=_general(comparison, change),
    )


def _headline(name: str, base: str, change: Change) -> str:
    relative = change.relative_improvement
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
    return f"{kind} speech: {percent(before)} of the words wrong with {base}, {percent(after)} with {candidate}."


def _general(comparison: Comparison, change: Change) -> str:
    lost = change.out_of_domain_points
    if lost is None or comparison.out_of_domain is None:
        return "Whether general Spanish suffered was not measured."
    if lost.low <= 0 <= lost.high:
        return f"General Spanish stayed the same within noise ({points(lost.value)} points)."
    word = "worse" if lost.value > 0 else "better"
    return f"General Spanish became {word} by {abs(lost.value):.1f} points."
