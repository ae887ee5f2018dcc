"""Train as the product does, against the usual recipe of Hugging Face.

The peer is the published recipe for fine-tuning Whisper: features mapped once for windows of 30 s, a collator that pads
the labels, `Seq2SeqTrainer`. Both train the same parts of the same random weights in the same precision on the same clips:
noise of lognormal durations with random labels, since speed does not depend on the content. Ours uses a shipped recipe with
its own windows and share of full ones.

The figure is seconds of speech per CPU second of the whole process (per second of wall time with a GPU), without the first
step and without mapping. The peer computes 30 s for every clip, so a few of its clips are enough; the mean duration of all
clips gives its seconds of speech. The bounds are 8 times the peer with the demo's model and 6 times with the architecture of
Whisper small.

    python benchmarks/bench_training.py --model demo --recipe configs/recipes/demo-full.yaml
    python benchmarks/bench_training.py --model small --recipe configs/recipes/whisper-small-full.yaml --clips 64
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from training_speed import ARCHITECTURES, make_random_clips, make_random_model, make_training, time_steps
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.clips import ClipStore
from habla_ml.training.device import resolve_precision
from habla_ml.training.model_folder import load_feature_extractor, load_tokenizer, prepare_trainable_model
from habla_ml.training.recipe import Recipe, load_recipe

MIN_RATIO = {"demo": 8.0, "small": 6.0}


@dataclass(frozen=True)
class TrainingSpeed:
    """Clips and time after the first step."""

    clips: int
    compute_s: float


def measure_ours(recipe: Recipe, clips: ClipStore, folder: Path) -> TrainingSpeed:
    """Train one pass over the clips with the product's trainer."""
    trainer, schedule = make_training(recipe, clips, folder)
    measured = chain.from_iterable(islice(schedule.steps(), 1, schedule.max_steps))
    return TrainingSpeed(sum(len(each.clips) for each in measured), time_steps(trainer, schedule.max_steps))


def measure_hugging_face(recipe: Recipe, clips: ClipStore, batch_size: int, folder: Path) -> TrainingSpeed:
    """Train one pass over the clips as Hugging Face's recipe does, `batch_size` clips a step."""
    base = resolve_base_model(recipe)
    extractor = load_feature_extractor(base)
    mapped = [
        {
            "input_features": extractor(clips.audio(each), sampling_rate=16_000).input_features[0],
            "labels": clips.label_ids(each),
        }
        for each in range(len(clips))
    ]
    tokenizer = load_tokenizer(base)
    tokenizer.pad_token = tokenizer.eos_token  # as in OpenAI's tokenizers

    def collate(rows: Sequence[dict[str, Any]]) -> Any:
        batch = extractor.pad([{"input_features": each["input_features"]} for each in rows], return_tensors="pt")
        labels = tokenizer.pad([{"input_ids": each["labels"]} for each in rows], return_tensors="pt")
        batch["labels"] = labels["input_ids"].masked_fill(labels.attention_mask.ne(1), -100)
        return batch

    steps = len(clips) // batch_size
    precision = resolve_precision(recipe)
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder / "hugging_face"),
        per_device_train_batch_size=batch_size,
        learning_rate=recipe.learning_rate,
        max_steps=steps,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=not torch.cuda.is_available(),
    )
    model = prepare_trainable_model(recipe, base.folder)
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=mapped, data_collator=collate)
    return TrainingSpeed((steps - 1) * batch_size, time_steps(trainer, steps))


def main() -> int:
    """Measure both and print a row; return 1 where the bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("demo", *ARCHITECTURES), default="demo")
    parser.add_argument("--layers", type=int, help="layers of encoder and decoder, where the memory is small")
    parser.add_argument("--recipe", type=Path, default=Path("configs/recipes/demo-full.yaml"))
    parser.add_argument("--batch-s", type=float, help="batch_s in place of the recipe's, where the memory is small")
    parser.add_argument("--accumulation", type=int, help="gradient_accumulation in place of the recipe's")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--peer-clips", type=int, default=64)
    parser.add_argument("--peer-batch", type=int, default=16)
    parser.add_argument("--mean-s", type=float, default=3.4, help="mean of the lognormal durations, s")
    parser.add_argument(
        "--threads", type=int, default=1, help="1: no thread waits for another, which costs CPU time too"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = load_recipe(chosen.recipe)
    changes = {"precision": chosen.precision, "epochs": 1, "min_steps": None, "max_steps": None, "first_stage": None}
    overrides = {"batch_s": chosen.batch_s, "gradient_accumulation": chosen.accumulation}
    changes |= {key: value for key, value in overrides.items() if value}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if chosen.model != "demo":
            base = make_random_model(chosen.model, folder / "base", chosen.layers)
            changes |= {"base_model": str(base), "revision": None}
        recipe = Recipe.model_validate(recipe.model_dump() | changes)
        clips = make_random_clips(chosen.clips, chosen.mean_s)
        peer_clips = clips.take(chosen.peer_clips)
        ours = measure_ours(recipe, clips, folder)
        peer = measure_hugging_face(recipe, peer_clips, chosen.peer_batch, folder)
    mean_s = float(clips.durations_s.mean())
    rates = [each.clips * mean_s / each.compute_s for each in (ours, peer)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {chosen.threads} thread(s)"
    print(
        f"{chosen.model}{f' with {chosen.layers} layers' if chosen.layers else ''}, {recipe.name}, "
        f"{resolve_precision(recipe)}, {device}; {len(clips)} clips of {mean_s:.1f} s\n"
        f"speech seconds per second: ours {rates[0]:.2f}, Hugging Face {rates[1]:.2f}, ratio {rates[0] / rates[1]:.1f}"
    )
    bound = None if chosen.layers else MIN_RATIO.get(chosen.model)
    if bound is not None:
        print(f"at least {bound:g} times: {'met' if rates[0] >= bound * rates[1] else 'NOT MET'}")
    return int(bound is not None and rates[0] < bound * rates[1])


if __name__ == "__main__":
    sys.exit(main())
