"""A training as several processes on this host, by torch's own launcher: `python -m habla_ml.training.launch.torchrun`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from habla_ml.process import die_with_parent
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_RESTART

_DIE_WITH_PARENT: Final = "--die-with-parent"
_SHUTDOWN_S: Final = 30
"""Time of a process to end after SIGTERM, before it is killed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training until it ends, again after a remedy; return its exit code (`habla_ml.training.exit_codes`)."""
    parser = argparse.ArgumentParser(
        prog="python -m habla_ml.training.launch.torchrun",
        description="All other options are those of python -m habla_ml.training.",
    )
    parser.add_argument("--processes", default="auto", help="number, or auto: one per GPU, and one without a GPU")
    options, words = parser.parse_known_args(arguments)
    if _DIE_WITH_PARENT in words or "DAGSTER_PIPES_CONTEXT" in os.environ:
        die_with_parent(os.getppid())
    if _DIE_WITH_PARENT not in words:
        words.append(_DIE_WITH_PARENT)
    n_processes = count_processes(options.processes)
    while (code := _run(n_processes, words)) == EXIT_RESTART:
        print("starting the processes of the training again", flush=True)
    return code


def count_processes(processes: str) -> int:
    """Return the number of processes of the setting `training.launch.processes`."""
    import torch

    return max(1, torch.cuda.device_count()) if processes == "auto" else int(processes)


def _run(n_processes: int, words: Sequence[str]) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun sets one thread per process; the training program divides the cores itself.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    command = ["--standalone", "--nproc-per-node", str(n_processes), "--shutdown-timeout", str(_SHUTDOWN_S)]
    try:
        run.run(run.parse_args([*command, "--module", "habla_ml.training", *words]))
    except ChildFailedError as failed:
        return choose_exit_code({rank: failure.exitcode for rank, failure in failed.failures.items()})
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


def choose_exit_code(codes: Mapping[Any, int]) -> int:
    """Return the code of the launcher from those of the failed processes, by rank; a signal is a negative number.

    A process that lost another one ends with `EXIT_ENVIRONMENT`, so any other code tells more.
    """
    own = [code for _, code in sorted(codes.items()) if code != EXIT_ENVIRONMENT]
    code = own[0] if own else EXIT_ENVIRONMENT
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
