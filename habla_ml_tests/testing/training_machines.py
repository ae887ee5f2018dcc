"""Machines that share a lake and train the same version, one after the other, as real processes."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from habla_ml.lake import Lake, S3Store, catalogue
from habla_ml.training.lease import CLOCK_SKEW_S, UnfinishedTraining, read_unfinished_training
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.s3_clients import BUCKET, new_client
from habla_ml_tests.testing.training_deployment import TrainingDeployment


class TrainingMachines(TrainingDeployment):
    """Each machine has a work folder of its own; a checkpoint goes to the lake after each step, if none is on its way."""

    def __init__(self, folder: Path, recipe: Recipe, s3_endpoint: str | None = None, **changes: object) -> None:
        self.s3_endpoint = s3_endpoint
        super().__init__(folder, recipe, **changes)

    def open_lake(self) -> Lake:
        if self.s3_endpoint is None:
            return super().open_lake()
        return Lake(S3Store(new_client(self.s3_endpoint), BUCKET, self.folder.name), self.folder / "cache")

    def write_settings(self, **changes: object) -> None:
        training = {"recipe": "configs/recipe.yaml", "checkpoint_every_min": 1e-6}
        lake = {"url": "lake"}
        if self.s3_endpoint is not None:
            lake = {"url": f"s3://{BUCKET}/{self.folder.name}", "endpoint_url": self.s3_endpoint}
        super().write_settings(**{"training": training, "lake": lake, **changes})

    def move_to(self, machine: str) -> None:
        """Let later processes run in another work folder."""
        self.work = machine
        self.write_settings()

    def read_unfinished(self) -> UnfinishedTraining | None:
        """Return the only unfinished training of the lake; None without one."""
        found = catalogue.UNFINISHED_TRAINING.read(self.lake).list_pointers()
        return read_unfinished_training(found[0]) if found else None

    def expire_lease(self) -> None:
        """Let the lease of the unfinished training have ended a moment ago, as if time had passed."""
        [pointer] = catalogue.UNFINISHED_TRAINING.read(self.lake).list_pointers()
        training = read_unfinished_training(pointer)
        assert training.lease is not None
        ended_at = datetime.now(UTC) - timedelta(seconds=CLOCK_SKEW_S + 1)
        lease = training.lease.model_copy(update={"expires_at": ended_at})
        self.lake.move_pointer(
            pointer.name, training.model_copy(update={"lease": lease}).model_dump(mode="json"), pointer
        )


def send_at(process: subprocess.Popen[str], prefix: str, request: signal.Signals) -> tuple[int, str]:
    """Send a signal at a line with this prefix; return the exit code and the output."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(prefix):
            process.send_signal(request)
            break
    lines += process.stdout
    process.stdout.close()
    return process.wait(), "".join(lines)
