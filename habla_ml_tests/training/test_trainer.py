import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.device import resolve_precision
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import prepare_trainable_model
from habla_ml.training.recipe import Recipe
from habla_ml.training.run import RunFolder, prepare_run
from habla_ml.training.schedule import StepSchedule, WindowedBatch
from habla_ml.training.sharing import SharedBatchSampler
from habla_ml.training.targets import IGNORED_LABEL
from habla_ml.training.train import build_training_data
from habla_ml.training.trainer import (
    PreparedRun,
    build_trainer,
    compute_token_loss,
)
from habla_ml.training.world import World


def change_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | changes)


def prepare_test_run(lake: Lake, snapshot: Snapshot, recipe: Recipe, work_folder: Path) -> PreparedRun:
    base = resolve_base_model(recipe)
    identity = RunIdentity.of(recipe, snapshot.id, base)
    training_data = build_training_data(lake, snapshot, recipe, GeneralSpeech())
    return prepare_run(recipe, identity, base, training_data, RunFolder(work_folder, identity), lambda _: None)


@dataclass(frozen=True)
class FixedSchedule:
    """One step."""

    step: tuple[WindowedBatch, ...]
    max_steps: int = 1

    def steps(self) -> Iterator[tuple[WindowedBatch, ...]]:
        yield self.step


def compute_first_gradients(run: PreparedRun) -> tuple[dict[str, torch.Tensor], float]:
    """Return the gradients before the first optimiser step without dropout, and the logged loss."""
    model = prepare_trainable_model(run.recipe, resolve_base_model(run.recipe).folder)
    for module in model.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    gradients: dict[str, torch.Tensor] = {}

    class GradientRecorder(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            if not gradients:
                gradients.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    trainer = build_trainer(model, run, None)
    trainer.add_callback(GradientRecorder())
    trainer.train()
    return gradients, next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)


@pytest.mark.slow
def test_four_accumulated_batches_have_the_gradients_of_one_large_batch(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    common = {"precision": "fp32", "max_steps": 1, "max_gradient_norm": 1e9, "log_every_steps": 1}
    clips = tuple(range(8))
    gradients, losses = [], []
    for name, parts in (("a", [clips]), ("b", [clips[first : first + 2] for first in (0, 2, 4, 6)])):
        run = prepare_test_run(
            lake, snapshot, change_recipe(recipe, **common, gradient_accumulation=len(parts)), tmp_path / name
        )
        step = tuple(WindowedBatch(each, 256) for each in parts)
        lengths = {len(run.train.clips.label_ids(clip)) for clip in clips}
        assert len(lengths) > 1, "labels of one length would hide a wrong mean"
        found, loss = compute_first_gradients(replace(run, schedule=FixedSchedule(step)))  # type: ignore[arg-type]
        gradients.append(found)
        losses.append(loss)
    large, small = gradients
    assert large.keys() == small.keys()
    for name, gradient in large.items():
        torch.testing.assert_close(small[name], gradient, rtol=1e-4, atol=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_loss_is_a_mean_over_the_tokens_of_the_whole_step() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 7)
    labels = torch.tensor([[1, 2, 3], [4, 5, IGNORED_LABEL], [6, IGNORED_LABEL, IGNORED_LABEL], [0, 1, IGNORED_LABEL]])
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL)
    torch.testing.assert_close(compute_token_loss(logits, labels, None, 0.0), whole)
    parts = [compute_token_loss(logits[rows], labels[rows], 8, 0.0) for rows in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_the_sampler_has_the_batches_of_the_steps_in_order(recipe: Recipe) -> None:
    schedule = StepSchedule([1.0] * 20, [9] * 20, change_recipe(recipe, gradient_accumulation=2, max_steps=5))
    sampler = SharedBatchSampler(schedule, 2, World())
    sampled = list(sampler)
    assert len(sampled) == len(sampler) == 10
    batches = chain.from_iterable(islice(schedule.steps(), 5))
    assert [[shared.use for shared in each] for each in sampled] == [batch.uses() for batch in batches]


@pytest.mark.slow
def test_training_lowers_the_loss_and_uses_the_windows_of_the_schedule(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    run = prepare_test_run(lake, snapshot, recipe, tmp_path)
    trainer = build_trainer(prepare_trainable_model(recipe, resolve_base_model(recipe).folder), run, None)
    widths = [batch["audio"].shape[-1] // 160 for batch in trainer.get_train_dataloader()]
    assert widths == [batch.n_frames for step in islice(run.schedule.steps(), 12) for batch in step]
    assert {3000, 192} < set(widths)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize(("schedule", "quarter"), [("linear", 0.75), ("cosine", (1 + math.cos(math.pi / 4)) / 2)])
def test_the_learning_rate_falls_by_the_schedule_and_weights_alone_decay(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, schedule: str, quarter: float
) -> None:
    changed = change_recipe(recipe, lr_schedule=schedule, warmup_steps=0, weight_decay=0.1, max_steps=8)
    run = prepare_test_run(lake, snapshot, changed, tmp_path)
    trainer = build_trainer(prepare_trainable_model(changed, resolve_base_model(changed).folder), run, None)
    trainer.create_optimizer_and_scheduler(8)
    decayed, kept = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0)
    assert all(weights.ndim >= 2 for weights in decayed["params"])
    assert all(weights.ndim == 1 for weights in kept["params"])
    [factor, _] = trainer.lr_scheduler.lr_lambdas
    assert [factor(step) for step in (0, 2, 4, 8)] == pytest.approx([1, quarter, 0.5, 0])


@pytest.mark.parametrize(
    ("instructions", "automatic"), [({}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")]
)
def test_a_cpu_uses_bf16_only_with_bf16_instructions_and_never_fp16(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], automatic: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert resolve_precision(recipe) == automatic
    assert resolve_precision(change_recipe(recipe, precision="fp32")) == "fp32"
    with pytest.raises(TrainingError, match=r"precision fp16, but this machine supports only .*fp32"):
        resolve_precision(change_recipe(recipe, precision="fp16"))
    if automatic == "fp32":
        with pytest.raises(TrainingError, match="precision bf16, but this machine supports only fp32"):
            resolve_precision(change_recipe(recipe, precision="bf16"))


@pytest.mark.parametrize(("is_native", "automatic"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_that_emulates_bf16_trains_in_fp16(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, is_native: bool, automatic: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: is_native or including_emulation
    )
    assert resolve_precision(recipe) == automatic


@pytest.mark.long
def test_a_loss_that_is_not_finite_ends_the_run_with_the_next_step(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    run = prepare_test_run(lake, snapshot, recipe, tmp_path)
    model = prepare_trainable_model(recipe, resolve_base_model(recipe).folder)
    with torch.no_grad():
        model.model.decoder.layer_norm.weight.fill_(np.nan)
    with pytest.raises(TrainingError, match=r"loss is nan at step 2; lower learning_rate"):
        build_trainer(model, run, None).train()


@pytest.mark.slow
def test_gradient_checkpointing_computes_the_same_gradients(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    common = {"max_steps": 1, "max_gradient_norm": 1e9, "log_every_steps": 1}
    plain, _ = compute_first_gradients(
        prepare_test_run(lake, snapshot, change_recipe(recipe, **common), tmp_path / "a")
    )
    saving = change_recipe(recipe, **common, gradient_checkpointing=True)
    checkpointed, _ = compute_first_gradients(prepare_test_run(lake, snapshot, saving, tmp_path / "b"))
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7)
