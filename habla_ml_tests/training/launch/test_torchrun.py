"""Two processes under torch's own launcher: killed, resumed, and started by Dagster."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from habla_ml.defs.models.checkpoint import run_training_process
from habla_ml.settings import load_settings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED
from habla_ml.training.launch.command import build_command
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.training_deployment import ROOT, TrainingDeployment, quiet_environment
from habla_ml_tests.testing.training_world import run_world
from habla_ml_tests.training.test_process import is_alive
from habla_ml_tests.training.test_several_processes import assert_equal_training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc"),
]


def test_a_killed_launcher_or_process_ends_all_and_dagster_resumes_the_training(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, precision="fp32", gradient_accumulation=2, log_every_steps=1)
    launch = {"where": "torchrun", "processes": 2}
    found = yaml.safe_load(deployment.settings.read_text())
    deployment.settings.write_text(yaml.safe_dump(found | {"training": found["training"] | {"launch": launch}}))
    assert run_world(tmp_path, 1, deployment.command("v1")[3:]).codes == [0]
    command = build_command(load_settings(deployment.settings), deployment.command("v2")[3:])

    with start(command) as launcher:
        workers = read_until(launcher, "step 6/12")
        assert sorted(workers) == [0, 1]
        launcher.kill()
    require_ended(workers)

    with start(command) as launcher:
        workers = read_until(launcher, "step 7/12")
        launcher.terminate()
        _, problem = launcher.communicate()
        assert launcher.returncode == EXIT_ENVIRONMENT, problem
        saved = re.search(r"resumes at step (\d+), which was saved", problem)
        assert saved, problem
        assert int(saved[1]) >= 7
    require_ended(workers)

    with start(command) as launcher:
        workers = read_until(launcher, "step 10/12")
        os.kill(workers[1], signal.SIGKILL)
        assert launcher.wait() == EXIT_KILLED
    require_ended(workers)
    assert deployment.lake.read_pointer("models/v2/checkpoint") is None

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return run_training_process(command, context).get_materialize_result(implicit_materialization=False)

    with dg.instance_for_test() as instance:
        result = dg.materialize([trained], instance=instance)
        assert result.success
        messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "resuming at step 8" in messages
    assert sum(message.startswith("step 12/12: loss") for message in messages) == 1, "one process reports"
    assert deployment.record("v2").processes == (2,)
    assert_equal_training(deployment, "v2", "v1")


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet_environment()
    )


def read_until(launcher: "subprocess.Popen[str]", prefix: str) -> dict[int, int]:
    """Return rank → process id, once rank 0 has printed a line with this prefix."""
    assert launcher.stdout is not None
    assert any(line.startswith(prefix) for line in launcher.stdout), "ended before"
    found = {}
    for thread in Path(f"/proc/{launcher.pid}/task").iterdir():
        for pid in map(int, (thread / "children").read_text().split()):
            variables = dict(each.partition("=")[::2] for each in Path(f"/proc/{pid}/environ").read_text().split("\0"))
            if "RANK" in variables:
                found[int(variables["RANK"])] = pid
    return found


def require_ended(workers: dict[int, int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers.values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers.values())), "a process without its launcher"
