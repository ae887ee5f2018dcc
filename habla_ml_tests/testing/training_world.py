"""The processes of one training, forked from a process that has the heavy libraries: a start takes no seconds.

They get the variables that a launcher sets, and end as under one: when one fails, the others get SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Loaded once by the server of forks.
import peft  # noqa: F401
import torch
import transformers.integrations
from torch.utils.tensorboard import SummaryWriter  # noqa: F401
from transformers import Seq2SeqTrainer, WhisperForConditionalGeneration  # noqa: F401

from habla_ml.training.process import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
Program = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class WorldRun:
    """How the processes ended, by rank: exit codes, negative for a signal, and what they printed."""

    codes: list[int]
    outputs: list[str]


def run_world(
    folder: Path, size: int, words: Sequence[str], program: Program = main, kill: tuple[int, str] | None = None
) -> WorldRun:
    """Run `program` in `size` processes to its end.

    Args:
        folder: For their output.
        size: Number of processes.
        words: Options of the training program.
        program: Returns an exit code.
        kill: Rank of a process to kill, when rank 0 has printed the text.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outputs = [folder / f"rank-{rank}-of-{size}.txt" for rank in range(size)]
    processes = [
        _FORKS.Process(target=_run, args=(program, list(words), rank, size, port, outputs[rank]))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    while any(process.exitcode is None for process in processes):
        time.sleep(0.02)
        if kill is not None and outputs[0].exists() and kill[1] in outputs[0].read_text():
            processes[kill[0]].kill()
            processes[kill[0]].join()
        if any(process.exitcode for process in processes):
            time.sleep(0.3)
            for process in processes:
                process.terminate()
    return WorldRun([process.exitcode or 0 for process in processes], [each.read_text() for each in outputs])


def _run(program: Program, words: list[str], rank: int, size: int, port: int, output: Path) -> None:
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)})
    os.environ.update({"LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    code = program(words)
    sys.stdout.flush()
    os._exit(code)
