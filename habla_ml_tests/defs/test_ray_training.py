"""A training on a real Ray cluster, started by Dagster: unbroken, and with killed processes and machines."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import dagster as dg
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from habla_ml.definitions import build_definitions
from habla_ml.defs.models import ray_jobs
from habla_ml.defs.models.ray_jobs import RayTrainingClient, stop_earlier_jobs
from habla_ml.defs.partitions import model_versions
from habla_ml.errors import TrainingInterruptedError
from habla_ml.lake import catalogue
from habla_ml.settings import load_settings
from habla_ml.settings.models import RaySettings
from habla_ml.training.checkpoints import STAMP_FILE
from habla_ml.training.launch.ray_job import LAKE_KEY, VERSION_KEY, RayJob
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.ray_cluster import RayCluster
from habla_ml_tests.testing.training_deployment import TrainingDeployment

pytestmark = pytest.mark.slow
ASSET = "fine_tuned_checkpoint"
N_PROCESSES = 2
RECIPE = Recipe.model_validate(
    {
        "name": "short",
        "base_model": "package:demo/base_model",
        "learning_rate": 1e-4,
        "precision": "fp32",
        "max_steps": 24,
        "batch_s": 9.0,
        "evaluate_every_steps": 4,
        "validation_clips": 2,
        "log_every_steps": 2,
        "early_stopping_patience": 24,
        "threads": 1,
    }
)


@dataclass
class RayDeployment:
    """A deployment whose trainings run on the cluster."""

    trained: TrainingDeployment
    cluster: RayCluster
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def train(self, version: str) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions(model_versions.name, [version])
        return dg.materialize(
            [each for each in self.definitions.assets or () if isinstance(each, dg.AssetsDefinition)],
            selection=dg.AssetSelection.assets(ASSET),
            instance=self.instance,
            partition_key=version,
            resources=dict(self.definitions.resources or {}),
            raise_on_error=False,
        )

    def find_training(self, version: str) -> list[psutil.Process]:
        return self.cluster.find_processes("-m habla_ml.training --settings", f"--version {version}")

    def wait_for_checkpoint(self, version: str, since: float) -> None:
        """Return once a training process that started after `since` wrote a checkpoint."""
        stamps = self.trained.folder / "work" / "training" / version
        while True:
            started = [each.create_time() for each in self.find_training(version) if each.create_time() > since]
            with suppress(FileNotFoundError):  # an old checkpoint is deleted meanwhile
                written = [each.stat().st_mtime for each in stamps.glob(f"*/checkpoints/*/{STAMP_FILE}")]
                if started and any(each > started[0] for each in written):
                    return
            time.sleep(0.3)

    def read_log(self, run_id: str) -> str:
        return "\n".join(each.user_message for each in self.instance.all_logs(run_id))

    def read_weights(self, version: str) -> dict[str, torch.Tensor]:
        folder = self.trained.lake.checkout_tree(self.trained.record(version).tree, self.trained.folder / version)
        return load_file(folder / "model.safetensors")


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Run `action` in a thread beside the block, and fail if it failed."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 (raised in the test's own thread)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(timeout=60)
    assert not errors, errors
    assert not thread.is_alive(), "the moment for the action did not come"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster) -> Iterator[RayDeployment]:
    trained = TrainingDeployment(tmp_path_factory.mktemp("ray") / "deployment", RECIPE)
    trained.lake.move_pointer(catalogue.SPLITS, {"snapshot": trained.snapshot.id}, None)
    tree = yaml.safe_load(trained.settings.read_text())
    ray = {"address": ray_cluster.address, "lost_after_s": 20}
    tree["training"]["launch"] = {"where": "ray", "processes": N_PROCESSES, "ray": ray}
    trained.settings.write_text(yaml.safe_dump(tree))
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions(load_settings(trained.settings, {}))
        yield RayDeployment(trained, ray_cluster, definitions, instance)


@pytest.fixture(scope="module")
def unbroken(deployment: RayDeployment) -> dict[str, torch.Tensor]:
    """The weights of a training in one process of this machine, without a fault."""
    trained = deployment.trained
    done = trained.run("v1")
    assert done.returncode == 0, done.stderr
    return deployment.read_weights("v1")


def find_error(result: dg.ExecuteInProcessResult) -> str:
    """Return the class of the error of the run's only failed step."""
    (failed,) = [each for each in result.all_events if each.is_step_failure]
    error = failed.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    return str(error.cause.cls_name)


def assert_same_weights(found: dict[str, torch.Tensor], unbroken: dict[str, torch.Tensor]) -> None:
    assert found.keys() == unbroken.keys()
    for name, weight in unbroken.items():
        torch.testing.assert_close(
            found[name], weight, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_job_that_no_run_watches_is_stopped_before_the_next_one(ray_cluster: RayCluster) -> None:
    settings = RaySettings(address=ray_cluster.address)
    client = RayTrainingClient(settings, lambda _: None).client

    def submit(version: str) -> str:
        return str(client.submit_job(entrypoint="exec sleep 600", metadata={LAKE_KEY: "lake", VERSION_KEY: version}))

    left, other = submit("v1"), submit("v2")
    stop_earlier_jobs(client, RayJob("", {}, {LAKE_KEY: "lake", VERSION_KEY: "v1"}), print)
    assert client.get_job_status(left) == "STOPPED"
    assert not client.get_job_status(other).is_terminal()
    client.stop_job(other)


def test_a_job_that_waits_for_resources_cannot_be_stopped_and_is_named(
    ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_jobs, "_STOP_S", 2.0)
    client = RayTrainingClient(RaySettings(address=ray_cluster.address), lambda _: None).client
    labels = {LAKE_KEY: "waiting", VERSION_KEY: "v1"}
    client.submit_job(entrypoint="exec true", entrypoint_num_cpus=50, metadata=labels)
    with pytest.raises(
        TrainingInterruptedError, match=r"is PENDING 2 s after .*; start the head again, or add what it waits for"
    ):
        stop_earlier_jobs(client, RayJob("", {}, labels), print)


def test_a_terminated_run_stops_its_job(ray_cluster: RayCluster) -> None:
    client = RayTrainingClient(RaySettings(address=ray_cluster.address), lambda _: None)

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        client.run(context=context, submit_job_params={"entrypoint": "exec sleep 600", "submission_id": "terminated"})

    def terminate() -> None:
        while not any(
            each.submission_id == "terminated" and each.status == "RUNNING" for each in client.client.list_jobs()
        ):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(terminate):
        result = dg.materialize([trained], raise_on_error=False)
    assert not result.success
    deadline = time.monotonic() + 60
    while client.client.get_job_status("terminated") != "STOPPED":
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_training_resumes_after_a_killed_worker_a_killed_driver_and_a_killed_head(
    deployment: RayDeployment, unbroken: dict[str, torch.Tensor]
) -> None:
    def kill_worker_and_driver() -> None:
        deployment.wait_for_checkpoint("v2", 0.0)
        deployment.cluster.find_processes("ray::RayTrainWorker")[-1].kill()
        deployment.wait_for_checkpoint("v2", time.time())
        (driver,) = deployment.cluster.find_processes("launch.ray_cluster", "--version v2")
        driver.kill()

    def kill_head() -> None:
        deployment.wait_for_checkpoint("v2", time.time())
        for each in deployment.find_training("v2"):
            each.suspend()  # so short a training could end before its machines notice the loss
        deployment.cluster.kill_head()

    with meanwhile(kill_worker_and_driver):
        first = deployment.train("v2")
    assert find_error(first) == "TrainingInterruptedError"
    log = deployment.read_log(first.run_id)
    assert "resuming at step" in log, "the job started the killed worker again"
    assert "received after closed" not in log
    with meanwhile(kill_head):
        second = deployment.train("v2")
    assert find_error(second) == "TrainingInterruptedError"
    assert find_error(deployment.train("v2")) == "TrainingInterruptedError", "there is no cluster"
    deployment.cluster.start_missing_nodes()
    third = deployment.train("v2")
    assert third.success
    assert "resuming at step" in deployment.read_log(third.run_id)
    check_materialisation(deployment, third)
    assert_same_weights(deployment.read_weights("v2"), unbroken)


def check_materialisation(deployment: RayDeployment, result: dg.ExecuteInProcessResult) -> None:
    """Check that the version was published once, with metadata and observed progress."""
    (materialised,) = result.asset_materializations_for_node(ASSET)
    record = deployment.trained.record("v2")
    assert (record.steps, materialised.tags["dagster/data_version"]) == (RECIPE.max_steps, record.tree)
    records = deployment.instance.fetch_observations(dg.AssetKey(ASSET), limit=100).records
    observed = [each.asset_observation for each in records if each.asset_observation]
    assert any("loss" in each.metadata and each.partition == "v2" for each in observed)
