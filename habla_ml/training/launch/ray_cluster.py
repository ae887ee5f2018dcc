"""A training as several processes on a Ray cluster: the job's program, `python -m habla_ml.training.launch.ray_cluster`.

Ray Train keeps a group of workers on the cluster's machines. Each of them runs the training program as its child. The
output of rank 0, with its messages to Dagster Pipes, comes back to this program. After the loss of a process or machine,
Ray Train starts the whole group again, and the training resumes at its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from habla_ml.settings import load_settings
from habla_ml.settings.models import RaySettings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED

_POLL_S: Final = 0.5
_FINAL_CODES: Final = (1, 2)
"""Exit codes after a fault that the next attempt has too: of the input or the program, and of the options."""


@dataclass(frozen=True)
class EndedProcess:
    """A process of the training ended with a code other than 0; a signal is a negative number."""

    rank: int
    code: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training until it ends; return its exit code (`habla_ml.training.exit_codes`)."""
    parser = argparse.ArgumentParser(
        prog="python -m habla_ml.training.launch.ray_cluster",
        description="All other options are those of python -m habla_ml.training.",
    )
    parser.add_argument("--processes", type=int, required=True, help="number of processes of the training")
    options, words = parser.parse_known_args(arguments)
    settings = load_settings(words[words.index("--settings") + 1])
    return run_on_cluster(settings.training.launch.ray, options.processes, words, lambda line: print(line, flush=True))


def run_on_cluster(settings: RaySettings, n_processes: int, words: Sequence[str], write: Callable[[str], None]) -> int:
    """Run the training program in `n_processes` workers of this job's cluster, and write each line of rank 0.

    Returns 0, a code that the next attempt would have too, or that of `choose_exit_code`.
    """
    import ray
    from ray.util.queue import Empty, Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(log_to_driver=False)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    messages = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    last: EndedProcess | None = None
    with tempfile.TemporaryDirectory() as storage:
        fit = _start_fit(settings, n_processes, {"words": list(words), "messages": messages}, storage)
        while True:
            is_over = not fit.is_alive()  # asked first: what was sent before is still read
            try:
                message = messages.get(timeout=_POLL_S)
            except Empty:
                if is_over:
                    break
                continue
            if isinstance(message, EndedProcess):
                last = message
                write(f"process {last.rank} of the training ended with code {last.code}")
                if last.code in _FINAL_CODES:
                    return last.code  # Ray ends the workers of a job whose program ends
            else:
                write(message)
    if fit.error is None:
        return 0
    write(f"error: the training failed more than {settings.max_failures} times ({type(fit.error).__name__})")
    return choose_exit_code(last)


def choose_exit_code(last: EndedProcess | None) -> int:
    """Return the code after too many failures: `EXIT_KILLED` if the last process was killed, else `EXIT_ENVIRONMENT`."""
    return EXIT_KILLED if last is not None and last.code < 0 else EXIT_ENVIRONMENT


class _FitThread(threading.Thread):
    """Runs a trainer; has its error at the end. It does not keep this program from ending."""

    def __init__(self, fit: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._fit = fit
        self.error: Exception | None = None

    def run(self) -> None:
        """Run the trainer to its end."""
        try:
            self._fit()
        except Exception as error:  # noqa: BLE001 (the thread that waits for it decides)
            self.error = error


def _start_fit(settings: RaySettings, n_processes: int, config: dict[str, Any], storage: str) -> _FitThread:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.backend import Backend, BackendConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class ProcessBackend(Backend):  # type: ignore[misc]
        share_cuda_visible_devices = True
        """A process sees all GPUs that the training has on its machine, and LOCAL_RANK is its own."""

    class ProcessConfig(BackendConfig):  # type: ignore[misc]
        backend_cls = ProcessBackend

    # Relative paths of the options start at the job's working folder, also in the workers.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    resources = settings.resources_per_process
    # TorchTrainer is this class and a process group in Ray's own processes, which hold no model here.
    trainer = DataParallelTrainer(
        run_process,
        train_loop_config=config,
        backend_config=ProcessConfig(),
        scaling_config=ScalingConfig(
            num_workers=n_processes, resources_per_worker=resources, use_gpu=resources.get("GPU", 0) > 0
        ),
        run_config=RunConfig(
            name="training", storage_path=storage, failure_config=FailureConfig(max_failures=settings.max_failures)
        ),
    )
    thread = _FitThread(trainer.fit)
    thread.start()
    return thread


def run_process(config: dict[str, Any]) -> None:
    """Run the training program as a child of this Ray worker; the loop of Ray Train.

    Raises:
        ChildProcessError: It did not end with 0, so that Ray Train starts the group again.
    """
    import ray.train

    context, messages = ray.train.get_context(), config["messages"]
    rank = context.get_world_rank()
    command = [sys.executable, "-m", "habla_ml.training", *config["words"], "--die-with-parent"]
    output = subprocess.PIPE if rank == 0 else None
    child = subprocess.Popen(
        command,
        text=True,
        env=os.environ | _build_variables(context),
        stdout=output,
        stderr=output and subprocess.STDOUT,
    )
    try:
        for line in child.stdout or ():
            messages.put(line.rstrip("\n"))
        code = child.wait()
    finally:
        child.kill()  # where the job's program is gone
    if code != 0:
        messages.put(EndedProcess(rank, code))
        raise ChildProcessError(f"process {rank} of the training ended with code {code}")


def _build_variables(context: Any) -> dict[str, str]:
    """Return the variables of torch.distributed for this worker."""
    import ray
    from ray.train.collective import broadcast_from_rank_zero

    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    # torch and Ray have no way to hold a port for a child; a taken one fails the group, which starts again.
    address, port = broadcast_from_rank_zero((ray.util.get_node_ip_address(), port))
    return {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }


if __name__ == "__main__":
    sys.exit(main())
