"""What to do after a comparison: recommendation, trade-offs, migration path and rollback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.figures import NO_VALUE
from habla_ml.evaluation.report.scoreboard import NO_WINNER, ScoreboardRow
from habla_ml.settings import format_command

_MAX_WORSE_SLICES: Final = 5


@dataclass(frozen=True)
class DeploymentAdvice:
    """Sentences for a person."""

    recommendation: str
    trade_offs: tuple[str, ...]
    migration: tuple[str, ...]
    rollback: str
    """A command line; empty where the comparison decides no release, and before the first release."""


def advise_deployment(content: ReportContent, rows: Sequence[ScoreboardRow]) -> DeploymentAdvice:
    """Derive the advice from the decision and the scoreboard `rows`."""
    previous = content.comparison.model("previous")
    return DeploymentAdvice(
        recommendation=_recommend(content),
        trade_offs=tuple(_list_trade_offs(content, rows)),
        migration=tuple(_list_migration_steps(content)),
        rollback=format_command(content.profile_option, "rollback", "--to", previous.name)
        if content.decision and previous
        else "",
    )


def _recommend(content: ReportContent) -> str:
    comparison, name = content.comparison, content.focus.name
    if content.decision is None:
        return _recommend_model(comparison, name)
    previous, base = comparison.model("previous"), comparison.model("base")
    kept = next((each.name for each in (previous, base) if each is not None), "the current model")
    recommendation = {
        "deploy": f"Release {name}.",
        "keep": f"Keep {kept}: {name} is not shown to be better than it.",
        "collect_more": f"Keep {kept}; correct more sessions, then train and evaluate again.",
        "refuse": f"Keep {kept}; do not release {name}.",
    }[content.decision.verdict]
    return f"{recommendation} Override: {content.override}" if content.override else recommendation


def _recommend_model(comparison: Comparison, name: str) -> str:
    change = next((each for each in comparison.changes if each.of == name), None)
    relative = change.relative_improvement if change else None
    if change is None or relative is None or relative.low <= 0:
        return f"Keep {comparison.models[0].name}: no other model makes significantly fewer errors."
    best = f"Use {name} if accuracy decides: it makes significantly fewer errors than {change.against}."
    tied = [
        each.against if each.of == name else each.of
        for each in comparison.changes
        if name in {each.of, each.against} and each.points and each.points.low <= 0 <= each.points.high
    ]
    return f"{best} It does not differ significantly from {' and '.join(tied)}." if tied else best


def _list_trade_offs(content: ReportContent, rows: Sequence[ScoreboardRow]) -> list[str]:
    name = content.focus.name
    by_winners: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        if row.winners:
            by_winners.setdefault((row.winners, row.losers), []).append(row.metric)
    ordered = sorted(by_winners.items(), key=lambda each: name not in each[0][0])
    found = [_describe_winners(winners, losers, metrics) for (winners, losers), metrics in ordered]
    for each in content.comparison.changes:
        found += _list_worse_slices(content.comparison, each) if each.of == name else []
    even = [row.metric for row in rows if row.winner == NO_WINNER]
    if even:
        found.append(f"No significant difference in: {', '.join(even)}.")
    unknown = [row.metric for row in rows if row.winner == NO_VALUE and not row.is_measured]
    if unknown:
        found.append(f"Not measured: {', '.join(unknown)}.")
    return found


def _describe_winners(winners: tuple[str, ...], losers: tuple[str, ...], metrics: Sequence[str]) -> str:
    names, worse = ", ".join(metrics), " and ".join(losers)
    if len(winners) == 1:
        return f"{winners[0]} is better than {worse} in: {names}."
    be = "is" if len(losers) == 1 else "are"
    return f"{worse} {be} worse, and {' and '.join(winners)} do not differ significantly, in: {names}."


def _list_worse_slices(comparison: Comparison, change: Change) -> list[str]:
    """List the slices that became worse, the worst first, without slices that are the whole test set."""
    whole = {(each.dimension, each.name) for each in comparison.slices if each.words == comparison.test.words}
    worse = [
        each for each in change.slices if each.loss_lower_bound_points > 0 and (each.dimension, each.name) not in whole
    ]
    worse.sort(key=lambda each: -each.loss_lower_bound_points)
    return [
        f"Worse than {change.against} on {each.dimension.replace('_', ' ')} {each.name}: {each.points.value:+.1f} "
        f"points, at least {each.loss_lower_bound_points:+.1f} after correction for multiple comparisons."
        for each in worse[:_MAX_WORSE_SLICES]
    ]


def _list_migration_steps(content: ReportContent) -> list[str]:
    name, previous = content.focus.name, content.comparison.model("previous")
    if content.decision is None:
        return [f"Serve {name} with the options under provenance. To go back, serve the previous model again."]
    if content.decision.verdict != "deploy" and not content.override:
        return ["No change: cdn_release refuses this version."]
    back = (
        f"To go back to {previous.name}, the rollback verifies its files and moves only the pointer."
        if previous
        else "A rollback works from the second release on; before that, set WHISPER_MODEL to the base model."
    )
    return [
        f"Materialise cdn_release for {name}: it decides again from this evidence, publishes, and moves the channel "
        "last.",
        "Habla: unpack the CTranslate2 archive and set WHISPER_MODEL to the folder. The phone follows the channel.",
        "Correct some of its first lessons; released_model_quality measures them every week.",
        back,
    ]
