"""Checkpoint averaging: the mean of the weights of the best validated checkpoints, if it validates no worse than the best.

The optimiser moves around a good solution, and the mean of several of its positions is often nearer to it than each of them
(Izmailov et al. 2018, "Averaging weights leads to wider optima").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from habla_ml.training.checkpoints import ValidationPoint, find_best_point, get_checkpoint_folder, rank_points
from habla_ml.training.model_folder import load_trained_model
from habla_ml.training.model_validation import validate_model
from habla_ml.training.trainer import PreparedRun, Progress


@dataclass(frozen=True)
class Average:
    """The mean of several checkpoints, in `folder`."""

    steps: tuple[int, ...]
    """Those of the checkpoints, the best first."""
    point: ValidationPoint
    """Its validation, at the step of the best checkpoint."""
    folder: Path


def average_best(run: PreparedRun, curve: Sequence[ValidationPoint], start: Path, folder: Path) -> Average | None:
    """Average the recipe's number of best checkpoints; return None, and log why, if the best one alone is better.

    Args:
        run: The finished run.
        curve: Its validations.
        start: The model that the run started from; adapters are merged into it.
        folder: Where the averaged model is written.
    """
    n_averaged = run.recipe.average_checkpoints
    excess = run.bounds.measure_excess
    steps = tuple(point.step for point in rank_points(curve, excess)[:n_averaged])
    if n_averaged == 1:
        return None
    if len(steps) == 1:
        run.report_progress(Progress("checkpoints are not averaged, since the run validated only one"))
        return None
    model = average_models([get_checkpoint_folder(run.checkpoints, step) for step in steps], start)
    point, best = validate_model(model, run, steps[0]), find_best_point(curve, excess)
    text = f"mean of steps {', '.join(map(str, steps))}: {point.describe()}; step {best.step}: {best.describe()}"
    if point.wer > best.wer or excess(point) > excess(best):
        run.report_progress(Progress(f"{text}; step {best.step} is published, since the mean is worse"))
        return None
    run.report_progress(Progress(f"{text}; the mean is published"))
    model.save_pretrained(folder, max_shard_size="1TB")
    return Average(steps, point, folder)


def average_models(checkpoints: Sequence[Path], start: Path) -> Any:
    """Return the model with the mean weights of checkpoints.

    Adapters are merged first. The mean of merged models has the mean of the products B·A, which is not the product of the
    means of A and B.
    """
    import torch

    model = load_trained_model(checkpoints[0], start)
    with torch.no_grad():
        sums = {name: weights.double() for name, weights in model.named_parameters()}
        for checkpoint in checkpoints[1:]:
            for name, weights in load_trained_model(checkpoint, start).named_parameters():
                sums[name] += weights
        for name, weights in model.named_parameters():
            weights.copy_(sums[name] / len(checkpoints))
    return model
