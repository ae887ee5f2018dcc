"""The processes of one training: which one this is, and what they exchange.

A launcher sets torch.distributed's variables in each. Without them a training is one process, and nothing here waits.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final, NoReturn, TypeVar

from habla_ml.errors import TrainingError
from habla_ml.training.exit_codes import EXIT_RESTART

T = TypeVar("T")
_STEP_TIMEOUT: Final = timedelta(minutes=30)
"""Of one exchange of gradients. A launcher ends all processes earlier where one has ended."""
_LEADER_TIMEOUT: Final = timedelta(days=7)
"""Of the wait for rank 0, which reads the clips and publishes alone."""
_LAUNCHER_S: Final = 5.0
"""Most time of a launcher to end the processes after one of them."""
_LOST_TEXTS: Final = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")


@dataclass(frozen=True)
class World:
    """The place of this process among those of a training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes of this host."""
    local_size: int = 1
    """Number of processes of this host."""

    @property
    def is_leader(self) -> bool:
        """Whether this process plans, reports, writes and publishes."""
        return self.rank == 0


class OtherProcessError(TrainingError):
    """Another process of the training has an error, and reports it."""


def read_world() -> World:
    """Return the place that the variables of torch.distributed give this process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    rank = int(os.environ["RANK"])
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    return World(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)))


@contextmanager
def join_world(world: World) -> Iterator[None]:
    """Connect the processes of a training within the block; each gets its GPU and its share of the cores.

    After an error the connection ends with the process, so that the other processes notice.
    """
    if world.size == 1:
        yield
        return
    import torch

    os.environ.setdefault("LOCAL_RANK", str(world.local_rank))  # accelerate chooses the GPU by it
    n_threads = max(1, count_cores() // world.local_size)
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    torch.set_num_threads(n_threads)
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    torch.distributed.init_process_group(backend, timeout=_STEP_TIMEOUT)
    _leader_group()  # all create it at the same time
    yield
    torch.distributed.destroy_process_group()


@cache
def _leader_group() -> Any:
    import torch

    return torch.distributed.new_group(backend="gloo", timeout=_LEADER_TIMEOUT)


def share(value: T) -> T:
    """Return the value of rank 0 in every process; all call it at the same point."""
    if read_world().size == 1:
        return value
    import torch

    values: list[Any] = [value]
    torch.distributed.broadcast_object_list(values, 0, group=_leader_group())
    shared: T = values[0]
    return shared


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank, in every process; all call it at the same point."""
    world = read_world()
    if world.size == 1:
        return [value]
    import torch

    values: list[Any] = [None] * world.size
    torch.distributed.all_gather_object(values, value, group=_leader_group())
    return values


def call_on_leader(function: Callable[[T], object], argument: T) -> None:
    """Call `function` with its argument in rank 0.

    Where it raises, all raise: rank 0 its error, the others `OtherProcessError`.
    """
    error = None
    if read_world().is_leader:
        try:
            function(argument)
        except Exception as found:
            error = found
            if read_world().size == 1:
                raise
    if share(error is not None):
        raise error or OtherProcessError("rank 0 has ended the attempt")


def is_lost_process(error: BaseException) -> bool:
    """Return whether the error means that another process of the training has ended or is not reachable."""
    if read_world().size == 1:
        return False
    import torch

    is_other = isinstance(error, torch.distributed.DistError)
    return is_other or (isinstance(error, RuntimeError) and any(each in str(error) for each in _LOST_TEXTS))


def await_launcher() -> None:
    """Wait for the launcher to end this process after another one, so that it sees the fault of that one first."""
    time.sleep(_LAUNCHER_S)


def restart_all() -> NoReturn:
    """End this process at once, so that the launcher starts all processes again."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_RESTART)


def describe_process(world: World) -> str:
    """Return the process in words, for messages."""
    return f"process {world.rank + 1} of {world.size} (on {socket.gethostname()})"


def count_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
