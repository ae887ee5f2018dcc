"""Training on one GPU: input and labels per second, share of the peak performance (MFU), and memory.

It trains Whisper's architectures with random weights on random clips, with all weights and with LoRA, for several sizes of
a batch, through the product's own trainer. Operations are counted by torch over the same steps, padding included; MFU
divides them by the GPU's dense bf16 peak. One prepared script for a rented GPU:

    python benchmarks/bench_gpu.py > gpu.md

It also runs on a CPU, with small sizes and without the columns of the GPU:

    python benchmarks/bench_gpu.py --model tiny --layers 1 --batch-s 4 --steps 3 --skipped 1
"""

from __future__ import annotations

import argparse
import gc
import platform
import sys
import tempfile
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from training_speed import ARCHITECTURES, make_random_clips, make_random_model, make_training, time_steps

from habla_ml.training.clips import ClipStore
from habla_ml.training.device import resolve_precision
from habla_ml.training.recipe import Recipe, load_recipe

RECIPES = Path(__file__).resolve().parent.parent / "configs" / "recipes"
METHODS = {"full": "whisper-small-full.yaml", "lora": "whisper-small-lora.yaml"}
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "4090": 165.0, "3090": 71.0}
"""Dense bf16 peak by a part of the device's name, from NVIDIA's data sheets (SXM where there are several)."""


@dataclass(frozen=True)
class GpuSpeed:
    """One setting."""

    window_s: float
    """Seconds of encoder input, padding included."""
    audio_s: float
    n_labels: int
    flops: float
    wall_s: float
    """CPU seconds without a GPU."""
    peak_bytes: int | None


def measure(recipe: Recipe, clips: ClipStore, steps: int, skipped: int, folder: Path) -> GpuSpeed:
    """Count the operations of the steps after the skipped ones, then time the same steps."""
    trainer, schedule = make_training(recipe, clips, folder)
    batches = list(chain.from_iterable(islice(schedule.steps(), skipped, steps)))
    chosen = [clip for batch in batches for clip in batch.clips]
    counts = []
    for upto in (skipped, steps):
        counter = FlopCounterMode(display=False)
        with counter:
            time_steps(make_training(recipe, clips, folder)[0], upto, 0)
        counts.append(counter.get_total_flops())
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    wall_s = time_steps(trainer, steps, skipped)
    return GpuSpeed(
        window_s=schedule.sum_window_s(steps) - schedule.sum_window_s(skipped),
        audio_s=float(clips.durations_s[chosen].sum()),
        n_labels=int(clips.label_counts[chosen].sum()),
        flops=counts[1] - counts[0],
        wall_s=wall_s,
        peak_bytes=torch.cuda.max_memory_allocated() if has_gpu else None,
    )


def format_row(model: str, method: str, batch_s: float, speed: GpuSpeed | None, peak_tflops: float | None) -> str:
    """Return a row of the table; None is out of memory."""
    if speed is None:
        return f"| {model} | {method} | {batch_s:g} | out of memory | | | | | |"
    rate = speed.flops / speed.wall_s / 1e12
    share = "–" if peak_tflops is None else f"{rate / peak_tflops:.1%}"
    memory = "–" if speed.peak_bytes is None else f"{speed.peak_bytes / 2**30:.1f} GiB"
    per_s = [each / speed.wall_s for each in (speed.window_s * 100, speed.n_labels, speed.audio_s)]
    return (
        f"| {model} | {method} | {batch_s:g} | {per_s[0]:.0f} | {per_s[1]:.0f} | {per_s[2]:.1f} | {rate:.3g} | {share} | "
        f"{memory} |"
    )


def main() -> int:
    """Print one row for each architecture, method and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=ARCHITECTURES, default=["small", "large-v3-turbo"])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--batch-s", nargs="+", type=float, default=[60.0, 120.0, 240.0, 480.0, 960.0])
    parser.add_argument("--layers", type=int, help="most layers of encoder and decoder")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--skipped", type=int, default=10, help="first steps that are not measured")
    parser.add_argument("--peak-tflops", type=float, help="bf16 peak of the GPU, where its name is unknown here")
    chosen = parser.parse_args()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    peak = chosen.peak_tflops or next((value for part, value in PEAK_TFLOPS.items() if part in name), None)
    unit = "second" if torch.cuda.is_available() else "CPU second"
    print(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}; per {unit}\n")
    print("| model | method | batch_s | frames | labels | speech s | TFLOP | MFU | peak memory |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for model in chosen.model:
            base = make_random_model(model, Path(scratch) / model, chosen.layers)
            for method in chosen.method:
                shipped = load_recipe(RECIPES / METHODS[method]).model_dump()
                for batch_s in chosen.batch_s:
                    changes = {"base_model": str(base), "revision": None, "epochs": None, "min_steps": None}
                    changes |= {"max_steps": chosen.steps, "batch_s": batch_s, "gradient_accumulation": 1}
                    recipe = Recipe.model_validate(shipped | changes)
                    clips = make_random_clips(round(chosen.steps * batch_s / 3), 3.4)
                    try:
                        speed = measure(recipe, clips, chosen.steps, chosen.skipped, Path(scratch))
                    except torch.OutOfMemoryError:
                        speed = None
                    gc.collect()
                    print(format_row(model, f"{method}, {resolve_precision(recipe)}", batch_s, speed, peak), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
