"""How the training process ends decides whether its version is tried again without end."""

import os
import signal
import subprocess
import sys

import dagster as dg
import pytest

from habla_ml.defs.models.checkpoint import run_training_process
from habla_ml.defs.run_faults import CAUSE_TAG, REASON_TAG, record_fault
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT
from habla_ml_tests.defs.conftest import DagsterDeployment


def run_command(code: str) -> dict[str, str]:
    """Run a training process that executes `code`; return the tags of its run."""

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        run_training_process([sys.executable, "-c", code], context)
        return dg.MaterializeResult()

    job = dg.define_asset_job("train", selection=["trained"], hooks={record_fault})
    definitions = dg.Definitions([trained], jobs=[job])
    with dg.DagsterInstance.ephemeral() as instance:
        run = definitions.resolve_job_def("train").execute_in_process(instance=instance, raise_on_error=False)
        assert not run.success
        found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return dict(found.tags)


@pytest.mark.parametrize(
    ("code", "fault", "reason"),
    [
        (
            f"raise SystemExit({EXIT_ENVIRONMENT})",
            "environment",
            "TrainingInterruptedError: the training process ended",
        ),
        ("raise SystemExit(1)", "program", "trained: DagsterPipesExecutionError"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "program", "was killed, probably because"),
    ],
    ids=["full disk", "defect", "out of memory"],
)
def test_the_end_of_the_training_process_is_the_fault_of_its_run(code: str, fault: str, reason: str) -> None:
    tags = run_command(code)
    assert tags[CAUSE_TAG] == fault
    assert reason in tags[REASON_TAG]


@pytest.mark.long
def test_a_training_process_without_its_lake_ends_for_its_environment(deployment: DagsterDeployment) -> None:
    (deployment.folder / "lake").write_text("a file where the lake should be")
    profile = deployment.folder / "configs" / "test.yaml"
    command = [sys.executable, "-m", "habla_ml.training", "--settings", str(profile), "--snapshot", "0" * 64]
    done = subprocess.run(
        [*command, "--version", "v1", "--out", str(deployment.folder / "v1")],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_ENVIRONMENT, done.stderr
    assert "error: " in done.stderr
