"""A training in several processes: equal to one in a single process, and no process waits for one that failed."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import pytest
import torch
import yaml
from safetensors.torch import load_file

from habla_ml.training import run as run_module
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_RESTART
from habla_ml.training.model_folder import prepare_trainable_model
from habla_ml.training.process import main
from habla_ml.training.recipe import Recipe
from habla_ml.training.remedies import Remedies
from habla_ml.training.world import read_world
from habla_ml_tests.testing.training_deployment import TrainingDeployment
from habla_ml_tests.testing.training_world import WorldRun, run_world

pytestmark = pytest.mark.slow

LORA = {
    "method": "lora",
    "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
    "gradient_accumulation": 4,
    "average_checkpoints": 2,
    "validation_bounds": {"non_speech_clips": 8},
}
ENDED = (-signal.SIGTERM, EXIT_ENVIRONMENT)
"""Codes of a process after another one failed."""
ENCODER = {"parts": "encoder", "gradient_checkpointing": True, "gradient_accumulation": 3}


def train(deployment: TrainingDeployment, size: int, version: str, *more: str, **options: object) -> WorldRun:
    words = deployment.command(version, *more)[3:]
    return run_world(deployment.folder, size, words, **options)  # type: ignore[arg-type]


def load_weights(deployment: TrainingDeployment, version: str) -> dict[str, torch.Tensor]:
    folder = deployment.lake.checkout_tree(deployment.record(version).tree, deployment.folder / f"out-{version}")
    return load_file(folder / "model.safetensors")


def assert_equal_training(deployment: TrainingDeployment, version: str, expected: str) -> None:
    found, wanted = load_weights(deployment, version), load_weights(deployment, expected)
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-6)
    one, other = deployment.record(expected), deployment.record(version)
    assert [point.loss for point in other.losses] == pytest.approx([point.loss for point in one.losses], rel=1e-5)
    assert [point.loss for point in other.validation] == pytest.approx([point.loss for point in one.validation])
    assert [point.wer for point in other.validation] == [point.wer for point in one.validation]
    assert [point.invented for point in other.validation] == [point.invented for point in one.validation]


@pytest.mark.parametrize(
    ("changes", "has_dropout"),
    [({}, False), (ENCODER, False), (LORA, True)],
    ids=["one batch a step", "encoder, three batches", "adapters, dropout, four batches, averaged"],
)
def test_one_two_and_four_processes_give_the_same_weights(
    tmp_path: Path, recipe: Recipe, tiny_base: Path, changes: dict[str, object], has_dropout: bool
) -> None:
    base = tiny_base if has_dropout else copy_without_dropout(tiny_base, tmp_path / "base")
    fixed = {"base_model": str(base), "precision": "fp32", "max_steps": 6, "evaluate_every_steps": 3}
    deployment = TrainingDeployment(tmp_path, recipe, **fixed, **changes, log_every_steps=1)
    for size in (1, 2, 4):
        run = train(deployment, size, f"v{size}")
        assert run.codes == [0] * size, "\n".join(run.outputs)
        assert "step 6/6: loss" in run.outputs[0]
        assert not any("step" in output for output in run.outputs[1:]), "only rank 0 reports"
        assert deployment.record(f"v{size}").processes == (size,)
    for size in (2, 4):
        assert_equal_training(deployment, f"v{size}", "v1")


def copy_without_dropout(base: Path, folder: Path) -> Path:
    """Copy a model; dropout in parts of a batch is other than in the whole batch."""
    copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dropout": 0.0}))
    return folder


def test_a_killed_process_ends_all_and_the_next_run_resumes_in_another_number(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, precision="fp32", gradient_accumulation=4, log_every_steps=1)
    assert train(deployment, 1, "v1").codes == [0]
    killed = train(deployment, 2, "v2", kill=(1, "step 6/12"))
    assert killed.codes[1] == -signal.SIGKILL
    assert killed.codes[0] in ENDED, "\n".join(killed.outputs)
    killed = train(deployment, 2, "v2", kill=(0, "step 10/12"))
    assert killed.codes[0] == -signal.SIGKILL
    assert killed.codes[1] in ENDED, "\n".join(killed.outputs)
    assert "resuming at step 4" in killed.outputs[0]
    assert deployment.lake.read_pointer("models/v2/checkpoint") is None
    resumed = train(deployment, 4, "v2")
    assert resumed.codes == [0] * 4, "\n".join(resumed.outputs)
    assert "resuming at step 8" in resumed.outputs[0]
    assert "the checkpoint is of 2 processes, and now there are 4" in resumed.outputs[0]
    assert deployment.record("v2").processes == (2, 4)
    assert_equal_training(deployment, "v2", "v1")


def test_a_refused_or_estimated_training_ends_in_all_processes(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe)
    estimated = train(deployment, 2, "v1", "--estimate")
    assert estimated.codes == [0, 0], "\n".join(estimated.outputs)
    assert "nothing was trained" in estimated.outputs[0]
    settings = yaml.safe_load(deployment.settings.read_text())
    settings["training"]["limit_h"] = 1e-9
    deployment.settings.write_text(yaml.safe_dump(settings))
    refused = train(deployment, 2, "v1")
    assert refused.codes[0] == 1
    assert refused.codes[1] in ENDED, "\n".join(refused.outputs)
    assert "but training.limit_h is 1e-09 h" in refused.outputs[0]


def test_a_loss_that_is_not_finite_restores_the_checkpoint_in_all_processes(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, precision="fp32", max_steps=4, log_every_steps=1)
    run = train(deployment, 2, "v1", program=train_with_nan)
    assert run.codes == [0, 0], "\n".join(run.outputs)
    assert "the loss is nan at step 2" in run.outputs[0]
    assert "Going on from the start with 0.25 of the learning rate" in run.outputs[0]
    assert deployment.record("v1").remedies == Remedies(learning_rate_factor=0.25)


def test_too_little_memory_in_one_process_divides_the_batches_of_all(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, precision="fp32", max_steps=4, windows={"full_share": 0.0})
    failed = train(deployment, 2, "v1", program=train_with_little_memory)
    assert failed.codes[1] == EXIT_RESTART
    assert failed.codes[0] in ENDED, "\n".join(failed.outputs)
    assert "process 2 of 2" in failed.outputs[1]
    assert "all go on from the last checkpoint with each batch in 2 parts" in failed.outputs[1]
    run = train(deployment, 2, "v1", program=train_with_little_memory)
    assert run.codes == [0, 0], "\n".join(run.outputs)
    assert deployment.record("v1").remedies == Remedies(batch_parts=2)


def train_with_nan(words: Sequence[str]) -> int:
    """Train with weights of rank 1 that become NaN before its second pass, once."""
    passes = []

    def spoil(model: torch.nn.Module, _inputs: object) -> None:
        passes.append(torch.is_grad_enabled())
        if read_world().rank == 1 and passes.count(True) == 2:
            with torch.no_grad():
                next(model.parameters()).fill_(torch.nan)

    return train_with_hook(words, spoil)


def train_with_little_memory(words: Sequence[str]) -> int:
    """Train with a rank 1 that has too little memory for two clips."""

    def allocate(_model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled() and read_world().rank == 1 and len(inputs[0]) > 1:
            torch.empty(2**50, dtype=torch.uint8)

    return train_with_hook(words, allocate)


def train_with_hook(words: Sequence[str], hook: object) -> int:
    def prepare(recipe: Recipe, start: Path) -> torch.nn.Module:
        model: torch.nn.Module = prepare_trainable_model(recipe, start)
        model.get_encoder().conv1.register_forward_pre_hook(hook)  # type: ignore[operator, union-attr]
        return model

    run_module.prepare_trainable_model = prepare  # in a process of its own
    return main(words)
