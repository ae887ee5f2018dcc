"""Speed of a training: random weights of Whisper's architectures, random clips, and a timer of the steps.

Speed does not depend on the content of weights and clips.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import TrainerCallback, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import habla_ml
from habla_ml.audio import SAMPLE_RATE
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.clips import ClipLoader, ClipStore, build_training_loader
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import load_feature_extractor, load_tokenizer, prepare_trainable_model
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import StepSchedule
from habla_ml.training.targets import TargetEncoder
from habla_ml.training.trainer import PreparedRun, build_trainer
from habla_ml.training.validation_sets import ValidationGroups

DEMO_MODEL = Path(habla_ml.__file__).parent / "demo" / "base_model"
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "heads": 6},
    "base": {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "heads": 8},
    "small": {"d_model": 768, "encoder_layers": 12, "decoder_layers": 12, "heads": 12},
    "medium": {"d_model": 1024, "encoder_layers": 24, "decoder_layers": 24, "heads": 16},
    "large-v3-turbo": {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 4, "heads": 20, "num_mel_bins": 128},
}
"""As in the configurations that OpenAI published."""
_VOCABULARY = 51_866
_LABELS_PER_S, _PROMPT_LABELS = 4.0, 4
_LABEL_IDS = 256
"""Labels are drawn from the first ids, which any tokenizer has as text."""


def make_random_model(name: str, folder: Path, layers: int | None = None) -> Path:
    """Write a complete model folder with random weights and the tokenizer of the demo's base model.

    Args:
        name: Key of `ARCHITECTURES`.
        folder: New folder.
        layers: Most layers of encoder and decoder; all of them by default.
    """
    architecture = dict(ARCHITECTURES[name])
    heads = architecture.pop("heads")
    for side in ("encoder", "decoder"):
        architecture[f"{side}_layers"] = min(layers or 99, architecture[f"{side}_layers"])
        architecture |= {f"{side}_attention_heads": heads, f"{side}_ffn_dim": 4 * architecture["d_model"]}
    config = json.loads((DEMO_MODEL / "config.json").read_text("utf-8")) | architecture | {"vocab_size": _VOCABULARY}
    torch.manual_seed(1)
    WhisperForConditionalGeneration(WhisperConfig(**config)).to(torch.float16).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config["num_mel_bins"]).save_pretrained(folder)
    for file in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO_MODEL / file, folder / file)
    return folder


def make_random_clips(n_clips: int, mean_s: float, sigma: float = 0.6, seed: int = 0) -> ClipStore:
    """Return clips of noise with lognormal durations of mean `mean_s` (s) and four random labels a second."""
    rng = np.random.default_rng(seed)
    durations_s = np.clip(rng.lognormal(np.log(mean_s) - sigma**2 / 2, sigma, n_clips), 0.3, 29.0)
    starts = np.concatenate([[0], np.cumsum(np.rint(durations_s * SAMPLE_RATE))]).astype(np.int64)
    counts = _PROMPT_LABELS + np.rint(durations_s * _LABELS_PER_S).astype(np.int64)
    label_starts = np.concatenate([[0], np.cumsum(counts)])
    return ClipStore(
        samples=rng.integers(-3000, 3000, starts[-1]).astype(np.int16),
        starts=starts,
        labels=rng.integers(0, _LABEL_IDS, label_starts[-1]).astype(np.int32),
        label_starts=label_starts,
        n_speech=n_clips,
        skipped={},
    )


def make_training(recipe: Recipe, clips: ClipStore, folder: Path) -> tuple[Any, StepSchedule]:
    """Return the product's own trainer over the clips, and its schedule."""
    base = resolve_base_model(recipe)
    targets = TargetEncoder(load_tokenizer(base))
    extractor = load_feature_extractor(base)
    schedule = StepSchedule(clips.durations_s.tolist(), clips.label_counts.tolist(), recipe)
    run = PreparedRun(
        recipe=recipe,
        identity=RunIdentity.of(recipe, "", base),
        schedule=schedule,
        evaluate_every_steps=schedule.max_steps,
        train=build_training_loader(clips, targets, recipe, extractor.feature_size),
        validation=ClipLoader(clips, targets),
        groups=ValidationGroups(len(clips)),
        extractor=extractor,
        targets=targets,
        checkpoints=folder / "checkpoints",
        tensorboard=folder / "tensorboard",
        report_progress=lambda _: None,
    )
    return build_trainer(prepare_trainable_model(recipe, base.folder), run, None), schedule


class MeasuredEnoughError(Exception):
    """Ends a training after its last measured step, before it evaluates and saves."""


@dataclass
class StepTimer(TrainerCallback):  # type: ignore[misc]
    """Times the steps after the first `skipped` ones."""

    skipped: int
    steps: int
    compute_s: float = 0.0

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Start the clock after the skipped steps, and stop the training after the last step."""
        if state.global_step == self.skipped:
            self.compute_s = -read_compute_s()
        if state.global_step == self.steps:
            self.compute_s += read_compute_s()
            raise MeasuredEnoughError


def time_steps(trainer: Any, steps: int, skipped: int = 1) -> float:
    """Train `steps` steps and return the seconds of those after the first `skipped`, as `read_compute_s` counts them."""
    if steps <= skipped:
        raise SystemExit(f"{steps} steps are too few, since the first {skipped} are not measured; give more clips")
    timer = StepTimer(skipped, steps)
    trainer.add_callback(timer)
    with contextlib.suppress(MeasuredEnoughError):
        trainer.train()
    return timer.compute_s


def read_compute_s() -> float:
    """Return the CPU seconds of this process and its children, or wall seconds with a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    process = psutil.Process()
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
