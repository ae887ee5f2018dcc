"""A training as several processes on this host, by torch's own launcher: `python -m habla_ml.training.launch.torchrun`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from habla_ml.errors import TrainingError
from habla_ml.process import die_with_parent
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_RESTART
from habla_ml.training.process import main as train
from habla_ml.training.termination import NOTICE_S, PIPES_VARIABLE

_DIE_WITH_PARENT: Final = "--die-with-parent"
_SHUTDOWN_S: Final = round(NOTICE_S) + 10
"""Time of a process to save and end after SIGTERM, before it is killed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training until it ends, again after a remedy; return its exit code (`habla_ml.training.exit_codes`)."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m habla_ml.training.launch.torchrun",
        description="All other options are those of python -m habla_ml.training.",
    )
    parser.add_argument("--processes", default="auto", help="number, or auto: one per GPU, and one without a GPU")
    options, words = parser.parse_known_args(arguments)
    if _DIE_WITH_PARENT in words or PIPES_VARIABLE in os.environ:
        die_with_parent(os.getppid())
    try:
        n_processes = count_processes(options.processes)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    if n_processes == 1:
        return train(words)
    if _DIE_WITH_PARENT not in words:
        words.append(_DIE_WITH_PARENT)
    while (code := _run(n_processes, words)) == EXIT_RESTART:
        print("starting the processes of the training again", flush=True)
    return code


def count_processes(processes: str) -> int:
    """Return the number of processes of the setting `training.launch.processes`.

    Raises:
        TrainingError: There are fewer GPUs.
    """
    import torch

    n_gpus: int = torch.cuda.device_count()
    if processes == "auto":
        return max(1, n_gpus)
    if 0 < n_gpus < int(processes):
        raise TrainingError(
            f"training.launch.processes is {processes}, but this host has {n_gpus} GPUs, one for a process; set it to auto"
        )
    return int(processes)


def _run(n_processes: int, words: Sequence[str]) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun sets one thread per process; the training program divides the cores itself.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    command = ["--standalone", "--local-addr", "127.0.0.1"]  # the name of a host may not have an address
    command += ["--nproc-per-node", str(n_processes), "--shutdown-timeout", str(_SHUTDOWN_S)]
    try:
        run.run(run.parse_args([*command, "--module", "habla_ml.training", *words]))
    except ChildFailedError as failed:
        return choose_exit_code({rank: failure.exitcode for rank, failure in failed.failures.items()})
    except SignalException as ended:
        is_interrupt = ended.sigval == signal.SIGINT and PIPES_VARIABLE not in os.environ
        return 130 if is_interrupt else EXIT_ENVIRONMENT
    return 0


def choose_exit_code(codes: Mapping[Any, int]) -> int:
    """Return the code of the launcher from those of the failed processes, by rank; a signal is a negative number.

    A process that lost another one ends with `EXIT_ENVIRONMENT`, or by the launcher's SIGTERM, so any other code has the
    cause.
    """
    causes = [code for _, code in sorted(codes.items()) if code not in (EXIT_ENVIRONMENT, -signal.SIGTERM)]
    code = causes[0] if causes else EXIT_ENVIRONMENT
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
