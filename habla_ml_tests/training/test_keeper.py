"""A training that is kept in the lake: early stopping, best weights, a lost lease and a second trainer."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingInterruptedError, TrainingLeasedError
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoint_bounds import CheckpointBounds
from habla_ml.training.keeper import keep_training
from habla_ml.training.lease import CLOCK_SKEW_S, hold_lease, list_unfinished_trainings
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import read_training_record
from habla_ml.training.remedies import Remedies
from habla_ml.training.train import train_version
from habla_ml.training.trainer import Progress
from habla_ml_tests.testing.training_identities import make_identity

pytestmark = pytest.mark.slow
EACH_STEP_S = 1e-6


@pytest.fixture
def still_recipe(recipe: Recipe) -> Recipe:
    """A recipe at whose rate no weight moves: every evaluation equals the first, and the third ends the run."""
    changes = {"learning_rate": 1e-30, "max_steps": 40, "evaluate_every_steps": 2, "early_stopping_patience": 2}
    return recipe.model_validate(recipe.model_dump() | changes | {"log_every_steps": 1})


def at_step(step: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Return a progress function that waits in each step for the checkpoint on its way, and acts in one step."""

    def report(progress: Progress) -> None:
        if progress.loss is not None:
            for thread in threading.enumerate():
                if thread.name == "checkpoint":
                    thread.join()
        if progress.step == step and progress.loss is not None:
            act()

    return report


def interrupt() -> None:
    raise KeyboardInterrupt


def test_another_folder_continues_early_stopping_and_publishes_the_best_step(
    lake: Lake, snapshot: Snapshot, still_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_version(
            lake, snapshot, still_recipe, "v1", tmp_path / "first", at_step(6, interrupt), store_every_s=EACH_STEP_S
        )
    [training] = list_unfinished_trainings(lake)
    assert training.checkpoint is not None
    assert list(training.checkpoint.best) == [2]
    assert training.checkpoint.step in {4, 5}
    reported: list[Progress] = []
    record = train_version(lake, snapshot, still_recipe, "v1", tmp_path / "second", reported.append)
    assert f"resuming at step {training.checkpoint.step}" in {each.message for each in reported}
    assert (record.steps, record.best_step) == (6, 2)
    assert [point.step for point in record.validation] == [2, 4, 6]
    straight = train_version(lake, snapshot, still_recipe, "v2", tmp_path / "third", lambda _: None)
    assert straight.tree == record.tree
    assert list(list_unfinished_trainings(lake)) == []


def test_a_trainer_that_lost_its_lease_stops_and_publishes_nothing(
    lake: Lake, snapshot: Snapshot, still_recipe: Recipe, tmp_path: Path
) -> None:
    with ExitStack() as other:

        def take_over() -> None:
            [training] = list_unfinished_trainings(lake)
            pointer = lake.read_pointer(catalogue.UNFINISHED_TRAINING.name(training.identity.digest))
            assert pointer is not None
            ended = (datetime.now(UTC) - timedelta(seconds=CLOCK_SKEW_S + 1)).isoformat()
            lake.move_pointer(
                pointer.name, {**pointer.value, "lease": {**pointer.value["lease"], "expires_at": ended}}, pointer
            )
            other.enter_context(hold_lease(lake, training.identity, "v1", None))

        quick = still_recipe.model_copy(update={"max_steps": 3})
        with pytest.raises(TrainingLeasedError, match=r"lost the lease .* took it over"):
            train_version(lake, snapshot, quick, "v1", tmp_path, at_step(2, take_over), store_every_s=EACH_STEP_S)
        assert read_training_record(lake, "v1") is None
        [training] = list_unfinished_trainings(lake)
        assert training.checkpoint is None or training.checkpoint.step <= 2
    record = train_version(lake, snapshot, quick, "v1", tmp_path, lambda _: None)
    assert record.steps == 3


def test_a_model_that_has_diverged_is_not_stored(lake: Lake, tmp_path: Path) -> None:
    with keep_training(lake, "v1", 0.0, make_identity(), tmp_path, lambda _: None) as keeper:
        callback = keeper.build_callback(tmp_path / "checkpoints", Remedies(), 1, CheckpointBounds())
        for value, is_stored in ((1.0, True), (float("nan"), False), (float("inf"), False)):
            model, control = torch.nn.Linear(2, 2), TrainerControl()
            torch.nn.init.constant_(model.bias, value)
            callback.on_step_end(None, None, control, model=model)
            assert control.should_save is is_stored
        with keeper.watch():
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(TrainingInterruptedError, match="resumes at the last checkpoint"):
                callback.on_step_end(None, None, TrainerControl(), model=model)


def test_a_second_trainer_of_the_run_is_refused_in_another_folder(
    lake: Lake, snapshot: Snapshot, still_recipe: Recipe, tmp_path: Path
) -> None:
    def train_again() -> None:
        with pytest.raises(TrainingLeasedError, match=r"process \d+ on .* trains v1"):
            train_version(lake, snapshot, quick, "v1", tmp_path / "theirs", lambda _: None)

    quick = still_recipe.model_copy(update={"max_steps": 2})
    record = train_version(lake, snapshot, quick, "v1", tmp_path / "mine", at_step(2, train_again))
    assert record == read_training_record(lake, "v1")
    assert list(list_unfinished_trainings(lake)) == []
