"""Does `torch.compile` pay in a training? The product's own trainer with compiled layers, against the same one without.

Encoder and decoder layers are compiled one by one with dynamic shapes, so that the many windows and lengths share their
programs. The first steps, in which they are compiled, are timed apart: a training must be long enough to win them back.

    python benchmarks/bench_compile.py --model demo --recipe configs/recipes/demo-full.yaml
    python benchmarks/bench_compile.py --model small --layers 2 --recipe configs/recipes/whisper-small-full.yaml
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from training_speed import (
    ARCHITECTURES,
    make_random_clips,
    make_random_model,
    make_training,
    read_compute_s,
    time_steps,
)

from habla_ml.training.clips import ClipStore
from habla_ml.training.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class StepTimes:
    """Seconds as `read_compute_s` counts them."""

    first_s: float
    """Of the first steps together."""
    step_s: float
    """Of each later step."""


def measure(recipe: Recipe, clips: ClipStore, first: int, steps: int, folder: Path, *, is_compiled: bool) -> StepTimes:
    """Train `steps` steps and time the `first` ones apart."""
    trainer, _ = make_training(recipe, clips, folder)
    if is_compiled:
        torch.compiler.reset()
        model = trainer.model.model
        for layer in (*model.encoder.layers, *model.decoder.layers):
            layer.compile(dynamic=True)
    start_s = read_compute_s()
    later_s = time_steps(trainer, steps, first)
    return StepTimes(read_compute_s() - start_s - later_s, later_s / (steps - first))


def main() -> int:
    """Print both times, their ratio, and the steps that win the compilation back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("demo", *ARCHITECTURES), default="demo")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--layers", type=int, help="most layers of encoder and decoder")
    parser.add_argument("--batch-s", type=float, default=30.0)
    parser.add_argument("--first", type=int, default=12, help="steps in which most shapes occur for the first time")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as scratch:
        changes = {"epochs": None, "min_steps": None, "max_steps": chosen.steps, "batch_s": chosen.batch_s}
        changes |= {"gradient_accumulation": 1, "spec_augment": None}
        if chosen.model != "demo":
            changes |= {"base_model": str(make_random_model(chosen.model, Path(scratch) / "model", chosen.layers))}
            changes |= {"revision": None}
        recipe = Recipe.model_validate(load_recipe(chosen.recipe).model_dump() | changes)
        clips = make_random_clips(round(chosen.steps * chosen.batch_s / 3), 3.4)
        plain, compiled = (
            measure(recipe, clips, chosen.first, chosen.steps, Path(scratch) / str(each), is_compiled=each)
            for each in (False, True)
        )
    gain_s = plain.step_s - compiled.step_s
    cost_s = compiled.first_s - chosen.first * compiled.step_s
    print(f"{chosen.model}, {chosen.recipe.stem}, {chosen.batch_s:g} s a step, {chosen.threads} threads")
    print(
        f"a step takes {plain.step_s:.3f} s, and {compiled.step_s:.3f} s compiled: ratio {plain.step_s / compiled.step_s:.2f}"
    )
    print(
        f"compiling took {cost_s:.0f} s, won back after {cost_s / gain_s:.0f} steps" if gain_s > 0 else "it never pays"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
