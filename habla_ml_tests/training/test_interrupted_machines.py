"""A machine is taken away during a training, and another one ends with the same weights."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT
from habla_ml.training.recipe import Recipe
from habla_ml.training.train import train_version
from habla_ml_tests.testing.s3_clients import CREDENTIALS
from habla_ml_tests.testing.training_machines import TrainingMachines, send_at

pytestmark = pytest.mark.slow
EACH_STEP = {"log_every_steps": 1}
LARGE = 100_000
"""Bytes; weights and optimizer states have more, and the small rest of a checkpoint less."""


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """A training that is still going on when its first checkpoint has reached a slow server."""
    return recipe.model_copy(update={"max_steps": 40})


@pytest.fixture
def uninterrupted_tree(lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path) -> str:
    """The tree of the version, trained without an interruption in this process and in a lake of its own."""
    return train_version(lake, snapshot, recipe, "v1", tmp_path / "uninterrupted", lambda _: None).tree


def find_resumed_step(output: str) -> int:
    found = re.search(r"^resuming at step (\d+)$", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])


def test_sigterm_saves_the_present_step_and_another_machine_resumes_it(
    tmp_path: Path, recipe: Recipe, uninterrupted_tree: str
) -> None:
    machines = TrainingMachines(tmp_path / "machines", recipe, **EACH_STEP)
    code, output = send_at(machines.start("v1"), "step 6/40: loss", signal.SIGTERM)
    assert code == EXIT_ENVIRONMENT, output
    saved = re.search(r"error: the training was asked to end; the next run resumes at step (\d+)", output)
    assert saved is not None, output
    training = machines.read_unfinished()
    assert training is not None
    assert training.checkpoint is not None
    assert (training.lease, training.checkpoint.step) == (None, int(saved[1]))
    assert 4 in training.checkpoint.best or int(saved[1]) > 7
    machines.move_to("second")
    resumed = machines.run("v1")
    assert resumed.returncode == 0, resumed.stderr
    assert find_resumed_step(resumed.stdout) == int(saved[1])
    assert machines.record("v1").tree == uninterrupted_tree
    assert machines.read_unfinished() is None


def test_a_killed_machine_holds_its_lease_for_a_while_and_then_another_one_resumes(
    tmp_path: Path, recipe: Recipe, uninterrupted_tree: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    machines = TrainingMachines(tmp_path / "s3-machines", recipe, s3_endpoint, **EACH_STEP)
    audio = list_large_objects(machines)
    process = machines.start("v1")
    code, output = send_at(process, "the checkpoint of step", signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    training = machines.read_unfinished()
    assert training is not None
    assert training.checkpoint is not None
    named = machines.lake.find_reachable(set(machines.lake.list_object_ids()))
    left = list_large_objects(machines) - named.keys()  # of an upload that was killed; a cleanup deletes them
    machines.move_to("second")
    refused = machines.run("v1")
    assert refused.returncode == EXIT_ENVIRONMENT
    found = re.search(rf"error: process {process.pid} on \S+ trains v1 .* its lease ends in (\d+) s", refused.stderr)
    assert found is not None, refused.stderr
    assert 100 < int(found[1]) <= 150
    machines.expire_lease()
    resumed = machines.run("v1")
    assert resumed.returncode == 0, resumed.stderr
    assert find_resumed_step(resumed.stdout) >= training.checkpoint.step
    assert machines.record("v1").tree == uninterrupted_tree
    assert machines.read_unfinished() is None
    weights = {each.sha256 for each in machines.lake.list_tree_files(uninterrupted_tree) if each.size_bytes > LARGE}
    assert list_large_objects(machines) == audio | weights | left, (
        "checkpoints are deleted, and published weights are not"
    )


def list_large_objects(machines: TrainingMachines) -> set[str]:
    return {each.sha256 for each in machines.lake.list_objects() if each.size_bytes > LARGE}
