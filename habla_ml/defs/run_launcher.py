"""The run launcher of `dagster.yaml`: each run is a process of its own, and its death is noticed.

Dagster's default launcher cannot check whether a run's process lives: after a power loss its runs stay "started" and
keep their slots. Here the process holds a lock (`run_worker`), which the monitoring of Dagster's daemon checks: at its
start and each `run_monitoring.poll_interval_seconds`. A run whose process is gone fails, and Dagster's retries launch it
again. A run whose process lives continues, also when daemon, code server and web server were restarted.

The web server can be in another container than the daemon, where the process ids mean other processes. It then leaves a
request in `DAGSTER_HOME`, and the process that launched the run stops it.

The interface of a run launcher exists only in Dagster's internal modules; no other module of this package imports them.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from habla_ml.defs.run_worker import build_lock_path, build_stop_request_path, is_worker_alive, read_worker_pid

KILL_AFTER_S = 60.0
READ_REQUESTS_S = 2.0

PIPELINE_MODULE = "habla_ml.definitions"
LOCATION_FILE = "pipeline_location"
"""In `DAGSTER_HOME`: the name of the code location whose runs have the pipeline's lake."""

_LOG = logging.getLogger(__name__)


class WorkerProcessLauncher(dg.DefaultRunLauncher):
    """Start a process for each run, check whether it lives, and end it on request."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's process; it needs no code server, and outlives this process."""
        run, origin = context.dagster_run, context.job_code_origin
        if origin is None:
            raise dg.DagsterInvariantViolationError(
                f"run {run.run_id} does not name the code of its job; launch it from the UI, a sensor or a schedule"
            )
        if getattr(origin.get_repo_pointer(), "module", "") == PIPELINE_MODULE and run.remote_job_origin is not None:
            self._require_one_pipeline(run.remote_job_origin.location_name)
        self._remove_old_locks()
        lock = self._lock_path(run.run_id)
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        # The instance comes from DAGSTER_HOME: as an argument, its configuration would be visible in the process list.
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=None)
        command = [origin.executable_path, "-m", "habla_ml.defs.run_worker", str(lock)]
        process = subprocess.Popen(
            [*command, "api", "execute_run", serialize_value(arguments)],
            env={**os.environ, "DAGSTER_HOME": self._instance.root_directory},
            stdin=subprocess.DEVNULL,
        )
        threading.Thread(target=self._report_end, args=(process, run.run_id), daemon=True).start()
        self._run_ids.add(run.run_id)

    def _require_one_pipeline(self, location: str) -> None:
        """Refuse a second code location of the pipeline: its runs have this process's settings, so the lake of the first."""
        known = Path(self._instance.root_directory) / LOCATION_FILE
        try:
            with known.open("x", encoding="utf-8") as file:
                file.write(location)
        except FileExistsError:
            first = known.read_text("utf-8")
            if first not in ("", location):  # empty while another thread writes it
                raise dg.DagsterInvariantViolationError(
                    f"the code location {location} loads the pipeline a second time, after {first}; give each lake a "
                    f"DAGSTER_HOME and a database of its own. After a change of the name, delete {known}"
                ) from None

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True: the daemon may ask for the health of a run's process."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a started run lives."""
        try:
            alive = is_worker_alive(self._lock_path(run.run_id))
        except FileNotFoundError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process was started from another DAGSTER_HOME")
        if alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process ended: killed, crashed, or a power loss")

    def terminate(self, run_id: str) -> bool:
        """Ask the run's process to stop and kill it after `KILL_AFTER_S`; cancel a run whose process is gone.

        Returns:
            Whether the run is canceled or its process was asked to stop.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        lock = self._lock_path(run_id)
        try:
            alive = is_worker_alive(lock)
            pid = read_worker_pid(lock)
        except FileNotFoundError:
            message = (
                "No process of this run was started from this DAGSTER_HOME; force the termination to mark it canceled."
            )
            self._instance.report_engine_event(message, run, cls=self.__class__)
            return False
        self._instance.report_run_canceling(run)
        if not alive:
            self._instance.report_run_canceled(run, "The process of this run had already ended.")
            return True
        if pid is None or not _is_worker_of(pid, run_id):
            self._instance.report_engine_event(
                "The process of this run belongs to another container; the daemon there stops it.",
                run,
                cls=self.__class__,
            )
            request = build_stop_request_path(self._instance.root_directory, run_id)
            request.parent.mkdir(exist_ok=True)
            request.touch()
            return True
        _stop(lock, pid, run_id)
        return True

    def _report_end(self, process: subprocess.Popen[bytes], run_id: str) -> None:
        """Wait for the run's process, and fail the run at once where the process died without a result."""
        code = self._wait(process, run_id)
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        message = f"The process of this run ended without a result ({ending})."
        if run.status == dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, message)
        else:
            self._instance.report_run_failed(run, message)

    def _wait(self, process: subprocess.Popen[bytes], run_id: str) -> int:
        """Return the exit code of the run's process, which is stopped where another container requests it."""
        lock, request = self._lock_path(run_id), build_stop_request_path(self._instance.root_directory, run_id)
        while True:
            try:
                code = process.wait(READ_REQUESTS_S)
            except subprocess.TimeoutExpired:
                if request.exists():
                    request.unlink()
                    _stop(lock, process.pid, run_id)
            else:
                request.unlink(missing_ok=True)
                return code

    def _lock_path(self, run_id: str) -> Path:
        return build_lock_path(self._instance.root_directory, run_id)

    def _remove_old_locks(self) -> None:
        """Remove the lock files of finished runs whose processes were killed.

        A command holds the lock before its run is recorded; without the file nothing would notice that it was killed.
        """
        for path in self._lock_path("").glob("*"):
            run = self._instance.get_run_by_id(path.name)
            with suppress(FileNotFoundError):
                is_over = not is_worker_alive(path) if run is None else run.is_finished
                if is_over:
                    path.unlink()


def _is_worker_of(pid: int, run_id: str) -> bool:
    """Return whether the process's command line names the run: a container has process ids of its own."""
    command = Path(f"/proc/{pid}/cmdline")
    if command.parent.parent.joinpath("self").exists():
        return command.exists() and run_id.encode() in command.read_bytes()
    found = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return run_id in found.stdout


def _stop(lock: Path, pid: int, run_id: str) -> None:
    """Ask the run's process to stop, and kill it after `KILL_AFTER_S`."""
    os.kill(pid, signal.SIGINT)
    killer = threading.Timer(KILL_AFTER_S, _kill, (lock, pid, run_id))
    killer.daemon = True
    killer.start()


def _kill(lock: Path, pid: int, run_id: str) -> None:
    try:
        if is_worker_alive(lock) and _is_worker_of(pid, run_id):
            _LOG.warning("run %s did not stop within %g s; killing process %d", run_id, KILL_AFTER_S, pid)
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass  # It ended meanwhile.
