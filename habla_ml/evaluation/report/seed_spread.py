"""The spread over training seeds in sentences, and which differences exceed it."""

from __future__ import annotations

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.comparison.seed_spread import SeedSpread
from habla_ml.evaluation.report.figures import percent


def format_seed_spread(found: SeedSpread) -> str:
    """Return `22.4 % ± 0.9 (21.6 to 23.3)`: mean, standard deviation of one training, range."""
    between = f"{100 * found.lowest:.1f} to {100 * found.highest:.1f}"
    return f"{percent(found.mean)} ± {100 * found.standard_deviation:.1f} ({between})"


def describe_seed_spread(comparison: Comparison) -> str:
    """Return the spread, and whether the differences to base and release exceed it; empty without seeds."""
    found = comparison.seeds
    if found is None:
        return ""
    sentences = [f"The WER over {len(found.runs)} training seeds is {format_seed_spread(found)}."]
    for role in ("base", "previous"):
        change = comparison.change(role)
        if change is not None and change.points is not None:
            sentences.append(_compare_with_spread(change, change.points.value, found))
    return " ".join(sentences)


def _compare_with_spread(change: Change, difference: float, found: SeedSpread) -> str:
    size = f"{abs(difference):.1f} points"
    if abs(difference) <= found.seed_noise_points:
        return (
            f"The difference to {change.against} ({size}) is within the variation between seeds "
            f"({found.seed_noise_points:.1f} points), so it is no evidence for or against this training."
        )
    kind = "gain over" if difference < 0 else "loss against"
    if found.standard_deviation == 0:
        return f"The {kind} {change.against} ({size}) does not depend on the seed."
    times = abs(difference) / (100 * found.standard_deviation)
    return f"The {kind} {change.against} ({size}) is {times:.0f} times the standard deviation between seeds."
