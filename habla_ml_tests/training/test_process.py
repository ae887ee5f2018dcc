"""The training process: killed, started twice, orphaned, and started by Dagster."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from habla_ml.defs.models.checkpoint import run_training_process
from habla_ml.defs.models.training_metadata import build_training_metadata
from habla_ml.errors import TrainingError
from habla_ml.training.plan import check_planned_inputs, read_plan
from habla_ml.training.process import main
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.readable_metadata import require_readable_metadata
from habla_ml_tests.testing.training_deployment import ROOT, TrainingDeployment, kill_at, quiet_environment
from habla_ml_tests.testing.training_snapshot import make_clips, publish_snapshot

pytestmark = pytest.mark.slow

LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "dropout": 0.1}}


@pytest.mark.parametrize("method", [{}, LORA], ids=["full", "lora"])
def test_a_run_killed_at_a_random_step_resumes_and_gives_the_same_artefact(
    tmp_path: Path, recipe: Recipe, method: dict[str, object]
) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, **method, log_every_steps=1)
    assert deployment.run("v1").returncode == 0
    step = random.SystemRandom().randint(5, 10)
    assert kill_at(deployment.start("v2"), f"step {step}/12"), f"ended before step {step}"
    assert deployment.lake.read_pointer("models/v2/checkpoint") is None
    resumed = deployment.run("v2")
    assert resumed.returncode == 0, resumed.stderr
    # Every fourth step writes a checkpoint. The process may write one more between the line and the kill.
    last_checkpoint = 4 * ((step - 1) // 4)
    found = re.search(r"^resuming at step (\d+)$", resumed.stdout, re.MULTILINE)
    assert found is not None, resumed.stdout
    assert int(found[1]) in {last_checkpoint, min(last_checkpoint + 4, 8)}
    straight, again = deployment.record("v1"), deployment.record("v2")
    assert again.tree == straight.tree, f"killed at step {step}"
    varying = {"version", "wall_s", "device"}
    assert again.model_dump(exclude=varying) == straight.model_dump(exclude=varying)


def test_a_run_killed_between_training_and_publishing_publishes_without_training(
    tmp_path: Path, recipe: Recipe
) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, max_steps=4)
    assert deployment.run("v1").returncode == 0
    process = deployment.start("v2")
    while process.poll() is None and not list((tmp_path / "work" / "v2").glob("*/finished")):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    again = deployment.run("v2")
    assert again.returncode == 0
    assert "step 4/4: loss" not in again.stdout
    assert deployment.record("v2").tree == deployment.record("v1").tree


def test_a_second_process_in_the_same_folder_is_refused_and_the_first_continues(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, max_steps=5000)
    first = deployment.start("v1")
    assert first.stdout is not None
    assert first.stdout.readline().startswith("reading the clips")
    second = deployment.run("v1")
    assert second.returncode == 1
    assert f"is in use by training process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert kill_at(first, "step 2/5000")


def test_the_process_ends_with_its_parent(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, max_steps=5000)
    starter = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "for line in child.stdout:\n"
        "    if line.startswith('step 2/'): break\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", starter, *deployment.command("v1", "--die-with-parent")]
    parent = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, env=quiet_environment())
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_error_is_one_line_and_exit_code_1(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe)
    deployment.recipe.write_text("name: x\n")
    refused = deployment.run("v1")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {deployment.recipe}: ")
    assert "Traceback" not in refused.stderr


def test_a_version_trained_without_dagster_has_a_plan_and_only_its_own_inputs(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, max_steps=2, evaluate_every_steps=2)
    command = ["--settings", str(deployment.settings), "--version", "v1", "--out", str(tmp_path / "work" / "v1")]
    assert main([*command, "--snapshot", deployment.snapshot.id]) == 0
    plan = read_plan(deployment.lake, "v1")
    assert plan.snapshot == deployment.snapshot.id == deployment.record("v1").identity.snapshot
    assert deployment.lake.get_bytes(plan.recipe) == deployment.recipe.read_bytes()
    deployment.recipe.write_text(deployment.recipe.read_text("utf-8").replace("weight_decay: 0.0", "weight_decay: 0.5"))
    later = publish_snapshot(deployment.lake, make_clips()[1:])
    refused = deployment.run("v1")
    assert refused.returncode == 1
    assert "recipe.yaml differs from the recipe tiny to which v1 is pinned" in refused.stderr
    with pytest.raises(TrainingError, match=f"pinned to snapshot {plan.snapshot}, not {later.id}"):
        check_planned_inputs(deployment.lake, plan, later.id, None, tmp_path)
    assert main(command) == 0, "without options, the version keeps its own recipe and snapshot"
    assert read_plan(deployment.lake, "v1") == plan


def test_a_process_of_dagster_reports_its_progress_and_materialises_with_metadata(
    tmp_path: Path, recipe: Recipe
) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, max_steps=4, evaluate_every_steps=2)

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        session = run_training_process(deployment.command("v1"), context)
        return session.get_materialize_result(implicit_materialization=False)

    with dg.instance_for_test() as instance:
        result = dg.materialize([trained], instance=instance)
        assert result.success
        entries = instance.all_logs(result.run_id)
        messages = [entry.user_message for entry in entries]
    assert any(message.startswith("step 2/4: validation WER") for message in messages)
    assert any(message.startswith("step 4/4: loss") for message in messages)
    names = [entry.dagster_event.event_type if entry.is_dagster_event else None for entry in entries]
    first = names.index(dg.DagsterEventType.ASSET_OBSERVATION)
    ended = next(at for at, each in enumerate(messages) if each.startswith("v1 published"))
    assert names.count(dg.DagsterEventType.ASSET_OBSERVATION) == 3, "the first loss and two evaluations"
    assert first < ended, "an observation is recorded while the process runs"
    observed = entries[first].dagster_event.asset_observation_data.asset_observation.metadata
    assert {name: observed[name].value for name in ("step", "steps")} == {"step": 2, "steps": 4}
    assert {"epoch", "loss", "learning_rate", "clips_per_h", "speech_h_per_h", "remaining_s", "memory_gb"} < set(
        observed
    )
    materialization = result.asset_materializations_for_node("trained")[0]
    record = deployment.record("v1")
    assert "tensorboard" in materialization.metadata
    shown = build_training_metadata(read_plan(deployment.lake, "v1"), record, materialization.metadata)
    require_readable_metadata(shown)
    assert shown["validation WER %"].value == pytest.approx(100 * record.best.wer, abs=0.01)
    assert shown["validations"].value.count("\n") == 3
    assert shown["steps"].value == 4
    assert materialization.tags["dagster/data_version"] == record.tree
