"""Bounds that the published checkpoint must meet besides its WER in class: forgetting and invented text.

Forgetting is the WER on general speech above that of the model that the run starts from. Invented text is the share of clips
without speech for which text is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from habla_ml.training.checkpoints import ValidationPoint, find_best_point


@dataclass(frozen=True)
class CheckpointBounds:
    """Highest figures of a validation; None for no bound."""

    general_wer: float | None = None
    invented: float | None = None

    def measure_excess(self, point: ValidationPoint) -> float:
        """Return the sum of what a validation is above the bounds; 0 within them."""
        pairs = ((point.general_wer, self.general_wer), (point.invented, self.invented))
        return sum(max(0.0, value - bound) for value, bound in pairs if value is not None and bound is not None)

    def describe(self) -> str:
        """Return the bounds in words; empty without any."""
        parts = (("WER on general speech", self.general_wer), ("clips without speech with text", self.invented))
        return ", ".join(f"{name} at most {bound:.1%}" for name, bound in parts if bound is not None)


def describe_choice(curve: Sequence[ValidationPoint], bounds: CheckpointBounds) -> str:
    """Return why the best checkpoint was chosen; empty without bounds."""
    if not bounds.describe():
        return ""
    best, lowest = find_best_point(curve, bounds.measure_excess), find_best_point(curve)
    if excess := bounds.measure_excess(best):
        return (
            f"no checkpoint is within the bounds ({bounds.describe()}); step {best.step} is published, which exceeds them least, "
            f"by {100 * excess:.1f} points: {best.describe()}"
        )
    text = f"step {best.step} is published: {best.describe()}; bounds: {bounds.describe()}"
    if lowest.step != best.step:
        text += f". Step {lowest.step} has a lower validation WER ({lowest.wer:.1%}) but is not within them"
    return text
