"""The spread over seeds in words: how far trainings lie apart that differ by chance alone, and what exceeds that."""

from __future__ import annotations

from habla_ml.evaluation.comparison.records import Change, Comparison
from habla_ml.evaluation.comparison.seed_spread import SeedSpread
from habla_ml.evaluation.report.figures import percent


def format_seed_spread(found: SeedSpread) -> str:
    """`22.4 % ± 0.9 (21.6 to 23.3)`: the mean, the standard deviation of one training, the range."""
    between = f"{100 * found.lowest:.1f} to {100 * found.highest:.1f}"
    return f"{percent(found.mean)} ± {100 * found.standard_deviation:.1f} ({between})"


def describe_seed_spread(comparison: Comparison) -> str:
    """The spread, and whether the differences to the base and to the release are larger; empty without seeds."""
    found = comparison.seeds
    if found is None:
        return ""
    sentences = [f"Trained with {len(found.runs)} seeds, the WER is {format_seed_spread(found)}."]
    for role in ("base", "previous"):
        change = comparison.change(role)
        if change is not None and change.points is not None:
            sentences.append(_compare_with_spread(change, change.points.value, found))
    return " ".join(sentences)


def _compare_with_spread(change: Change, difference: float, found: SeedSpread) -> str:
    size = f"{abs(difference):.1f} points"
    if abs(difference) <= found.seed_noise_points:
        return (
            f"The difference to {change.against} ({size}) is no larger than what another seed alone may make "
            f"({found.seed_noise_points:.1f} points): it says nothing about the training."
        )
    kind = "gain over" if difference < 0 else "loss against"
    if found.standard_deviation == 0:
        return f"The {kind} {change.against} ({size}) is no matter of the seed."
    times = abs(difference) / (100 * found.standard_deviation)
    return f"The {kind} {change.against} ({size}) is {times:.0f} times that spread."
