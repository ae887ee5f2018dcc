"""A run whose memory is too small or whose loss is not finite, by faults that a hook of its encoder provokes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training import run as run_module
from habla_ml.training.model_folder import prepare_trainable_model
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainingRecord
from habla_ml.training.remedies import NotFiniteError, Remedies, choose_remedies, is_out_of_memory, split_batch
from habla_ml.training.train import train_version
from habla_ml.training.trainer import Progress
from habla_ml_tests.training.test_trainer import change_recipe, compute_first_gradients, prepare_test_run

Hook = Callable[[Any, int], None]
"""Called with the model and the clips of a batch, before each pass through the encoder in training."""


class FaultyTraining:
    """Trainings of one recipe; `hook` is called before each training pass, and may be replaced between attempts."""

    def __init__(self, lake: Lake, snapshot: Snapshot, recipe: Recipe, folder: Path, monkeypatch: Any) -> None:
        self.lake, self.snapshot, self.folder = lake, snapshot, folder
        self.recipe = change_recipe(recipe, max_steps=6, evaluate_every_steps=2, log_every_steps=1, precision="fp32")
        self.hook: Hook = lambda model, n_clips: None
        self.messages: list[str] = []
        self.passes = 0
        monkeypatch.setattr(run_module, "prepare_trainable_model", self._prepare)

    def _prepare(self, recipe: Recipe, start: Path) -> Any:
        model = prepare_trainable_model(recipe, start)

        def call(encoder: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            if torch.is_grad_enabled():
                self.passes += 1
                self.hook(model, len((*inputs, named.get("input_features"))[0]))

        model.get_encoder().register_forward_pre_hook(call, with_kwargs=True)
        return model

    def train(self, on_progress: Callable[[Progress], None] = lambda _: None) -> TrainingRecord:
        def report(progress: Progress) -> None:
            self.messages.append(progress.message)
            on_progress(progress)

        return train_version(self.lake, self.snapshot, self.recipe, "v1", self.folder, report)


@pytest.fixture
def training(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FaultyTraining:
    return FaultyTraining(lake, snapshot, recipe, tmp_path / "work", monkeypatch)


def allocate_too_much_above(limit: int) -> Hook:
    """Ask the real allocator for 1 PiB, which fails, where more than `limit` clips pass the model together."""

    def allocate(_model: Any, n_clips: int) -> None:
        if n_clips > limit:
            torch.empty(2**50, dtype=torch.uint8)

    return allocate


def stop_at_step_5(progress: Progress) -> None:
    if progress.step == 5 and progress.loss is not None:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_divided_and_a_resumed_run_remembers_it(training: FaultyTraining) -> None:
    training.hook = allocate_too_much_above(2)
    with pytest.raises(KeyboardInterrupt):
        training.train(stop_at_step_5)
    [line] = [each for each in training.messages if each.startswith("out of memory")]
    assert line.startswith("out of memory; going on from the start with each batch in 2 parts")
    training.messages.clear()
    record = training.train()
    assert "resuming at step 4" in training.messages
    assert not any("out of memory" in each for each in training.messages)
    assert record.remedies == Remedies(batch_parts=2)
    assert record.steps == 6
    assert not list(training.folder.glob("*/remedies.json"))


@pytest.mark.slow
def test_a_memory_too_small_for_one_clip_ends_the_run_with_advice(training: FaultyTraining) -> None:
    training.hook = allocate_too_much_above(0)
    with pytest.raises(TrainingError, match=r"too small for a single clip; set gradient_checkpointing"):
        training.train()
    assert [each.split("each batch in ")[1][:7] for each in training.messages if "each batch" in each] == [
        "2 parts",
        "4 parts",
    ]


def test_other_errors_have_no_remedy() -> None:
    assert choose_remedies(RuntimeError("shapes differ"), Remedies(), 8) is None
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(RuntimeError, match="can't allocate memory") as failed:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(failed.value)


@pytest.mark.slow
def test_a_divided_batch_has_the_gradients_of_the_whole_one(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    common = {"precision": "fp32", "max_steps": 1, "max_gradient_norm": 1e9, "log_every_steps": 1}
    run = prepare_test_run(lake, snapshot, change_recipe(recipe, **common), tmp_path)
    whole, whole_loss = compute_first_gradients(run)
    divided, divided_loss = compute_first_gradients(
        replace(run, checkpoints=tmp_path / "divided", remedies=Remedies(batch_parts=3))
    )
    for name, gradient in whole.items():
        torch.testing.assert_close(divided[name], gradient, rtol=1e-4, atol=1e-6)
    assert divided_loss == pytest.approx(whole_loss, rel=1e-5)


def test_parts_keep_the_clips_and_their_order() -> None:
    inputs = {"labels": torch.arange(10).reshape(5, 2), "input_features": torch.arange(5)}
    parts = split_batch(inputs, 2)
    assert [len(each["labels"]) for each in parts] == [3, 2]
    for key, tensor in inputs.items():
        torch.testing.assert_close(torch.cat([each[key] for each in parts]), tensor)
    assert len(split_batch(inputs, 8)) == 5


def poison_pass(training: FaultyTraining, *passes: int) -> Hook:
    """Make the model's weights NaN before the training passes with these numbers."""

    def poison(model: Any, _n_clips: int) -> None:
        if training.passes in passes:
            with torch.no_grad():
                model.model.decoder.layer_norm.weight.fill_(torch.nan)

    return poison


@pytest.mark.slow
def test_a_loss_that_is_not_finite_restores_the_checkpoint_once_with_a_lower_rate(training: FaultyTraining) -> None:
    training.hook = poison_pass(training, 4)
    record = training.train()
    assert any(
        each.startswith("the loss is nan at step 4; lower learning_rate")
        and each.endswith("Going on from the checkpoint of step 2 with 0.25 of the learning rate")
        for each in training.messages
    )
    assert record.remedies == Remedies(learning_rate_factor=0.25)
    rates = {point.step: point.learning_rate for point in record.losses}
    # After the warm-up of 2 steps the rate falls linearly from 5e-3 to 0 at step 6; the restored part has a quarter.
    assert [rates[step] for step in (3, 4, 5, 6)] == pytest.approx([1.25e-3, 0.9375e-3, 0.625e-3, 0.3125e-3])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_twice_ends_the_run_with_the_reason(training: FaultyTraining) -> None:
    training.hook = poison_pass(training, 4, 6)
    with pytest.raises(
        TrainingError, match=r"loss is nan at step 4; lower learning_rate .* already restored once with 0\.25"
    ) as failed:
        training.train()
    assert isinstance(failed.value.__cause__, NotFiniteError)
