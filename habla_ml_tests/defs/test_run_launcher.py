"""Real run processes: launched, killed, asked to stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin

from habla_ml.defs import run_launcher
from habla_ml.defs.attempts import RetryPolicy, count_attempts
from habla_ml.defs.monitoring.lost_runs import end_lost_runs
from habla_ml.defs.run_launcher import LOCATION_FILE, PIPELINE_MODULE, WorkerProcessLauncher
from habla_ml.defs.run_worker import (
    build_lock_path,
    build_stop_request_path,
    hold_worker_lock,
    is_worker_alive,
    read_worker_pid,
)
from habla_ml.settings import AutomationSettings
from habla_ml_tests.defs.conftest import ROOT
from habla_ml_tests.testing.slow_job import wait_job

DEADLINE_S = 60


@dataclass
class LaunchedRun:
    """A run whose step has started and waits for `go_ahead`."""

    instance: dg.DagsterInstance
    run_id: str
    go_ahead: Path

    @property
    def launcher(self) -> WorkerProcessLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, WorkerProcessLauncher)
        return launcher

    @property
    def run(self) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(self.run_id)
        assert found is not None
        return found

    @property
    def pid(self) -> int:
        found = read_worker_pid(build_lock_path(self.instance.root_directory, self.run_id))
        assert found is not None
        return found

    def wait_for_status(self, status: dg.DagsterRunStatus) -> None:
        wait_until(lambda: self.run.status == status)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    return tmp_path / "home"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


def create_run(
    instance: dg.DagsterInstance,
    go_ahead: Path,
    ignore_interrupts: bool = False,
    status: dg.DagsterRunStatus | None = None,
) -> dg.DagsterRun:
    config = {"go_ahead": str(go_ahead), "ignore_interrupts": ignore_interrupts}
    return instance.create_run_for_job(
        wait_job,
        run_config={"ops": {"wait_for_file": {"config": config}}},
        status=status,
        job_code_origin=dg.reconstructable(wait_job).get_python_origin(),
    )


@pytest.fixture
def launch(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Callable[..., LaunchedRun]]:
    launched: list[LaunchedRun] = []

    def launch(ignore_interrupts: bool = False) -> LaunchedRun:
        go_ahead = tmp_path / f"go{len(launched)}"
        run = create_run(instance, go_ahead, ignore_interrupts)
        instance.launch_run(run.run_id, workspace=None)  # type: ignore[arg-type]  # it needs no code server
        launched.append(LaunchedRun(instance, run.run_id, go_ahead))
        wait_until(Path(f"{go_ahead}.waiting").exists)
        return launched[-1]

    yield launch
    for each in launched:
        each.go_ahead.touch()
        wait_until(lambda each=each: each.run.is_finished)  # type: ignore[misc]


@pytest.mark.long
def test_a_killed_process_fails_its_run_at_once_and_awaits_its_retry(launch):
    run = launch()
    os.kill(run.pid, signal.SIGKILL)
    run.wait_for_status(dg.DagsterRunStatus.FAILURE)
    wait_until(lambda: run.run.tags.get("dagster/will_retry") == "true")
    policy = RetryPolicy.for_trainings(AutomationSettings())
    attempts = count_attempts(run.instance, wait_job.name, {}, policy)
    assert attempts.running
    assert attempts.counted == 0
    # As Dagster does when it launches the retry; the retry is then the run that counts.
    run.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
    attempts = count_attempts(run.instance, wait_job.name, {}, policy)
    assert not attempts.running
    assert attempts.counted == 0


@pytest.mark.long
def test_a_restarted_daemon_sees_which_processes_live(launch, home, monkeypatch):
    monkeypatch.setattr(WorkerProcessLauncher, "_report_end", lambda *_: None)
    lost, alive = launch(), launch()
    with dg.DagsterInstance.from_config(str(home)) as restarted:
        check = restarted.run_launcher.check_run_worker_health
        assert check(lost.run).status.value == "RUNNING"
        os.kill(lost.pid, signal.SIGKILL)
        wait_until(lambda: check(lost.run).status.value == "FAILED")
        assert check(alive.run).status.value == "RUNNING"
        restarted.report_run_failed(lost.run)
    alive.go_ahead.touch()
    alive.wait_for_status(dg.DagsterRunStatus.SUCCESS)
    new = launch()
    locks = build_lock_path(alive.instance.root_directory, new.run_id).parent
    assert [each.name for each in locks.iterdir()] == [new.run_id]


@pytest.mark.slow
def test_a_run_stops_on_request_from_another_process(launch, home):
    run = launch()
    with dg.DagsterInstance.from_config(str(home)) as web_server:
        assert web_server.run_launcher.terminate(run.run_id)
    run.wait_for_status(dg.DagsterRunStatus.CANCELED)


@pytest.mark.slow
def test_a_run_stops_on_request_from_another_container(launch, home, monkeypatch):
    monkeypatch.setattr(run_launcher, "READ_REQUESTS_S", 0.1)
    run = launch()
    terminate = (
        "import sys, dagster\n"
        "with dagster.DagsterInstance.get() as instance:\n"
        "    sys.exit(not instance.run_launcher.terminate(sys.argv[1]))"
    )
    # A container has process ids of its own, and shares DAGSTER_HOME.
    container = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not create a namespace of processes")
    command = [*container, sys.executable, "-c", terminate, run.run_id]
    subprocess.run(command, env={**os.environ, "DAGSTER_HOME": str(home)}, check=True)
    run.wait_for_status(dg.DagsterRunStatus.CANCELED)
    assert list((home / "run_stop_requests").iterdir()) == []


@pytest.mark.slow
def test_a_process_that_ignores_the_request_is_killed(launch, monkeypatch):
    monkeypatch.setattr(run_launcher, "KILL_AFTER_S", 0.5)
    run = launch(ignore_interrupts=True)
    assert run.launcher.terminate(run.run_id)
    run.wait_for_status(dg.DagsterRunStatus.CANCELED)


def test_a_run_whose_process_is_gone_can_be_canceled(instance, tmp_path):
    run = create_run(instance, tmp_path)
    build_lock_path(instance.root_directory, run.run_id).parent.mkdir()
    build_lock_path(instance.root_directory, run.run_id).touch()
    assert instance.run_launcher.terminate(run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize(
    ("status", "age_s", "expected"),
    [
        (dg.DagsterRunStatus.STARTING, 60, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.CANCELING, 60, dg.DagsterRunStatus.CANCELED),
        (dg.DagsterRunStatus.STARTING, 0, dg.DagsterRunStatus.STARTING),
    ],
)
def test_a_run_that_lost_its_process_while_starting_or_canceling_ends(status, age_s, expected, tmp_path):
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        run = create_run(instance, tmp_path, status=status)
        lock = build_lock_path(instance.root_directory, run.run_id)
        lock.parent.mkdir()
        lock.touch()
        os.utime(lock, (time.time() - age_s,) * 2)
        end_lost_runs(instance)
        assert instance.get_run_by_id(run.run_id).status == expected


def test_a_run_of_another_machine_is_left_alone(instance, tmp_path):
    run = create_run(instance, tmp_path)
    assert instance.run_launcher.check_run_worker_health(run).status.value == "RUNNING"
    assert not instance.run_launcher.terminate(run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.NOT_STARTED


def test_no_signal_is_sent_to_a_process_that_is_not_the_runs(instance, tmp_path):
    run = create_run(instance, tmp_path)
    lock = build_lock_path(instance.root_directory, run.run_id)
    # As in a container whose process ids mean other processes here.
    child = os.fork()
    if child == 0:
        with hold_worker_lock(lock):
            lock_held = tmp_path / "held"
            lock_held.touch()
            time.sleep(DEADLINE_S)
        os._exit(0)
    try:
        wait_until((tmp_path / "held").exists)
        assert is_worker_alive(lock)
        assert instance.run_launcher.terminate(run.run_id)
        assert is_worker_alive(lock)
        assert build_stop_request_path(instance.root_directory, run.run_id).exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_launch_leaves_the_lock_of_a_command_whose_run_is_not_recorded_yet(instance, tmp_path):
    lock, left = (build_lock_path(instance.root_directory, name) for name in ("of-a-command", "of-a-killed-command"))
    child = os.fork()
    if child == 0:
        with hold_worker_lock(lock):
            (tmp_path / "held").touch()
            time.sleep(DEADLINE_S)
        os._exit(0)
    try:
        wait_until((tmp_path / "held").exists)
        left.touch()
        instance.run_launcher._remove_old_locks()
        assert is_worker_alive(lock)
        assert not left.exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_second_code_location_of_the_pipeline_launches_no_run(instance, home):
    (home / LOCATION_FILE).write_text("north")
    server = GrpcServerCodeLocationOrigin(host="localhost", port=4000, location_name="south")
    code = RepositoryPythonOrigin(sys.executable, ModuleCodePointer(PIPELINE_MODULE, "defs"))
    run = instance.create_run_for_job(
        wait_job,
        run_config={"ops": {"wait_for_file": {"config": {"go_ahead": ""}}}},
        remote_job_origin=RemoteRepositoryOrigin(server, "__repository__").get_job_origin(wait_job.name),
        job_code_origin=JobPythonOrigin(wait_job.name, code),
    )
    with pytest.raises(dg.DagsterInvariantViolationError, match="south loads the pipeline a second time, after north"):
        instance.launch_run(run.run_id, workspace=None)
    assert not build_lock_path(home, run.run_id).exists()
