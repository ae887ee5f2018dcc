"""When a run is validated, and on which clips: often enough to stop early, at a bounded share of the time.

Validation decodes greedily in windows as short as in training, since 30 s windows would take ten times as long. The WER
report of a version decodes 30 s windows, as served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from habla_ml.training.clips import ClipStore
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import StepSchedule, WindowedBatch, fill_batches, fit_windows
from habla_ml.training.windows import FRAMES_PER_S

MAX_SHARE: Final = 0.05
"""Most time of all validations, as a share of the training time."""
DECODING_COST: Final = 1.5
"""Time of a validation, relative to training on the same encoder input: 1.45 measured with the demo's model on a CPU."""
FEWEST_CLIPS: Final = 16
"""A shorter sample says too little, so short runs may exceed `MAX_SHARE`."""

FEWEST_GUARD_CLIPS: Final = 8
"""Of general speech and without speech, each."""


@dataclass(frozen=True)
class ValidationPlan:
    """Cadence and sample of the validations of a run."""

    every_steps: int
    n_clips: int
    """The first clips of the validation split's sample."""
    guard_share: float = 1.0
    """Share of the clips of general speech and without speech."""

    def cut_guards(self, n_clips: int) -> int:
        """Return how many of a sample of guard clips are used."""
        return min(n_clips, max(FEWEST_GUARD_CLIPS, int(self.guard_share * n_clips)))


def plan_validation(
    recipe: Recipe, schedule: StepSchedule, durations_s: Sequence[float], guard_durations_s: Sequence[float] = ()
) -> ValidationPlan:
    """Return cadence and sample for a run over `schedule`.

    The samples are cut so that all validations take at most `MAX_SHARE` of the training time, as far as the input tells.

    Args:
        recipe: The run's recipe.
        schedule: Its steps.
        durations_s: Duration of each clip of the recipe's sample.
        guard_durations_s: Duration of each clip of general speech and without speech.
    """
    steps = schedule.max_steps
    n_evaluations = max(recipe.min_evaluations, math.ceil(recipe.evaluations_per_epoch * schedule.count_epochs(steps)))
    every_steps = recipe.evaluate_every_steps or max(1, steps // n_evaluations)
    most_s = MAX_SHARE / DECODING_COST * schedule.sum_window_s(steps) / math.ceil(steps / every_steps)
    window_s = np.cumsum(fit_windows(np.asarray(durations_s), recipe)) / FRAMES_PER_S
    guards_s = float(np.sum(fit_windows(np.asarray(guard_durations_s, np.float64), recipe))) / FRAMES_PER_S
    guard_share = min(1.0, most_s / max(guards_s + float(window_s[-1]), 1e-9))
    n_affordable = int(np.searchsorted(window_s, most_s - guard_share * guards_s, side="right"))
    return ValidationPlan(every_steps, min(len(durations_s), max(FEWEST_CLIPS, n_affordable)), guard_share)


def plan_validation_batches(clips: ClipStore, recipe: Recipe, batch_parts: int = 1) -> list[WindowedBatch]:
    """Return batches of clips of similar length with the input of a whole step, since decoding keeps no activations.

    `batch_parts` divides the input where the memory is too small for a batch of the training.
    """
    frames = fit_windows(clips.durations_s, recipe)
    order = np.argsort(frames, kind="stable")
    most_frames = recipe.batch_s * FRAMES_PER_S / batch_parts
    return list(fill_batches(order, frames[order], clips.label_counts[order], most_frames))
