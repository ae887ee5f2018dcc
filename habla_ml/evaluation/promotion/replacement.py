"""Whether a candidate is probably better than the current release, and what would settle it."""

from __future__ import annotations

import math

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.promotion.guards import format_points
from habla_ml.evaluation.scoring.significance import compute_units_to_show
from habla_ml.settings import PromotionSettings


def explain_keeping(comparison: Comparison, settings: PromotionSettings) -> list[str]:
    """Return why the current release stays, and what would settle it; nothing if the candidate may replace it."""
    change = comparison.change("previous")
    if change is None or is_probably_better(change, settings):
        return []
    return [describe_superiority(change, settings), _describe_remedy(comparison, change, settings)]


def describe_superiority(change: Change, settings: PromotionSettings) -> str:
    """Return the probability that the candidate is better than the release, with the difference."""
    if change.superiority is None or change.points is None:
        return f"It was not compared with the released {change.against} on any words."
    only = "" if is_probably_better(change, settings) else "only "
    return (
        f"It is better than the released {change.against} {only}with a probability of "
        f"{change.superiority.probability_text}; {settings.replace_when_better_with:g} is required. The difference of the "
        f"WER is {format_points(change.points)}."
    )


def is_probably_better(change: Change, settings: PromotionSettings) -> bool:
    """Return whether the probability that the candidate makes fewer word errors reaches the setting."""
    return change.superiority is not None and change.superiority.probability >= settings.replace_when_better_with


def count_missing_sessions(comparison: Comparison, change: Change, level: float) -> int | None:
    """Return how many more test sessions show the measured difference in four of five cases.

    More sessions count as effective as the present ones. None where the candidate does not make fewer errors, or where
    thousands of sessions are not enough.
    """
    evidence, points = change.superiority, change.points
    if evidence is None or points is None or points.value >= 0:
        return None
    needed = compute_units_to_show(points.value, evidence.standard_error_points, evidence.effective_units, level)
    if needed is None:
        return None
    sessions = comparison.test.sessions
    return max(1, math.ceil(sessions * needed / evidence.effective_units) - sessions)


def _describe_remedy(comparison: Comparison, change: Change, settings: PromotionSettings) -> str:
    missing = count_missing_sessions(comparison, change, settings.replace_when_better_with)
    if missing is not None and change.points is not None:
        return (
            f"What would settle it: if the true difference is the measured {change.points.value:+.1f} points, about "
            f"{missing} more test sessions show it in four of five cases."
        )
    if change.points is not None and change.points.value < 0:
        return (
            "The measured difference is too small for any practical number of test sessions. Train a better candidate."
        )
    return (
        f"More test sessions are unlikely to change this, because it makes no fewer errors than {change.against} on the "
        "present ones. Train a better candidate."
    )
