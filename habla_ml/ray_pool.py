"""Bulk work on a Ray cluster: one function for many batches, in tasks or in actors, with the results in order.

The calling process reads the input and writes the results. The machines of the cluster need the same version of this
project, and no file of the caller. A batch whose process or machine is lost runs again.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from habla_ml.errors import HablaError, ServiceError, SettingsError
from habla_ml.settings.models import RaySettings

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH_BYTES: Final = 8 << 20
_BATCHES_PER_WORKER: Final = 2
"""One runs and one waits, so that a worker need not wait for the caller."""
_CLOSE_S: Final = 10.0
_CONNECT_ATTEMPTS: Final = 3
_TERMINAL_CODES: Final = re.compile(r"\x1b\[[0-9;]*m")


class BatchWorker(Protocol):
    """What an actor builds once and calls for each of its batches."""

    def __call__(self, batch: Any) -> Any:
        """Return the result of a batch; an error of ours is raised again by the caller."""

    def close(self) -> None:
        """Free its resources. A killed actor does not call this."""


def split_by_bytes(
    items: Iterable[Item], size_bytes: Callable[[Item], int], most_bytes: int = _BATCH_BYTES
) -> Iterator[list[Item]]:
    """Yield the items in batches of at most `most_bytes`; a larger item is a batch of its own."""
    batch: list[Item] = []
    total = 0
    for item in items:
        size = size_bytes(item)
        if batch and total + size > most_bytes:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def connect(settings: RaySettings) -> bool:
    """Connect this process to the cluster; return False if it was connected.

    Raises:
        SettingsError: Ray is not installed.
        ServiceError: The cluster cannot be reached, or has another version of Python or Ray.
    """
    # This process starts others, such as a decoder; gRPC's handlers of a fork can disturb them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        import ray
    except ImportError:
        raise SettingsError("work on a Ray cluster needs Ray; run pip install 'habla-ml[ray]'") from None
    if ray.is_initialized():
        return False
    for attempts_left in reversed(range(_CONNECT_ATTEMPTS)):
        try:
            with _keep_sigterm_handler():
                ray.init(
                    settings.bulk_address,
                    runtime_env=settings.runtime_env or None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except (OSError, RuntimeError, ValueError) as error:
            # The head starts a process for each client. It can crash (Ray's issue 63202), and a busy head can be too slow.
            if attempts_left and isinstance(error, ConnectionAbortedError):
                continue
            raise ServiceError(
                f"the Ray cluster {settings.bulk_address} cannot be reached ({_describe(error)}); start it, or correct "
                "training.launch.ray.client_address"
            ) from error
        break
    return True


def count_cpus(settings: RaySettings) -> int:
    """Return the CPUs of the cluster, with the errors of `connect`, and `ServiceError` where there are none."""
    is_new = connect(settings)
    import ray

    try:
        with _explain_losses(settings):
            count = int(ray.cluster_resources().get("CPU", 0))
    finally:
        if is_new:
            ray.shutdown()
    if not count:
        raise ServiceError(f"the Ray cluster {settings.bulk_address} has no CPU for tasks; add a machine to it")
    return count


def map_in_tasks(
    name: str,
    function: Callable[[list[Item]], Result],
    batches: Iterable[list[Item]],
    n_workers: int,
    settings: RaySettings,
) -> Iterator[Result]:
    """Yield the result of each batch, in order; each runs in a task with one CPU.

    Args:
        name: Of the tasks, for the dashboard.
        function: A function of a module. It gets and returns what pickle can store.
        batches: Read as far as `n_workers` processes need them.
        n_workers: Tasks to run at the same time.
        settings: The cluster. This process is connected to it.

    Raises:
        ServiceError: The cluster was lost, or a batch lost its process more than `max_failures` times.
        HablaError: The error of the function.
    """
    import ray

    task = ray.remote(_call).options(name=name, num_cpus=1, max_retries=settings.max_failures)
    # A large argument would be part of the task's message; an object is sent in chunks.
    return _map_in_order(lambda batch, _: task.remote(function, ray.put(batch)), batches, n_workers, settings)


class RayActors:
    """Processes on the cluster, each with a `BatchWorker` of its own that is built once."""

    def __init__(
        self,
        build: Callable[[], BatchWorker],
        count: int,
        resources: Mapping[str, float],
        settings: RaySettings,
    ) -> None:
        """Ask for the processes, and do not wait for them.

        Args:
            build: Builds the worker in its process, and again in a new process after a loss.
            count: Processes.
            resources: What Ray reserves for each, such as `{"CPU": 4, "GPU": 1}`.
            settings: The cluster. This process is connected to it.
        """
        import ray

        self._settings, self._resources = settings, dict(resources)
        self._build = build  # a process that starts again needs the objects that it refers to
        others = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
        actor = ray.remote(_BatchActor).options(
            num_cpus=resources.get("CPU", 0),
            num_gpus=resources.get("GPU", 0),
            resources=others or None,
            max_restarts=settings.max_failures,
            max_task_retries=settings.max_failures,
        )
        self._actors = [actor.remote(build) for _ in range(count)]
        self._starting = {each.check_ready.remote(): each for each in self._actors}
        self._ready: list[Any] = []
        self._owners: dict[Any, Any] = {}

    def map(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the result of each batch, in order; a batch goes to the process with the fewest.

        Raises:
            ServiceError: No process started within `lost_after_s`. The cluster was lost. A batch or a process was lost
                more than `max_failures` times.
            HablaError: The error of a worker.
        """
        return _map_in_order(self._submit, batches, len(self._actors), self._settings)

    def close(self) -> None:
        """End the processes."""
        import ray

        with suppress(ray.exceptions.RayError, OSError):
            closing = [each.close.remote() for each in self._actors]
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S if self._ready else 0.0)
        for each in self._actors:
            with suppress(ray.exceptions.RayError, OSError):
                ray.kill(each)

    def _submit(self, batch: Any, running: Mapping[Any, int]) -> Any:
        import ray

        self._wait_for_start()
        self._owners = {reference: actor for reference, actor in self._owners.items() if reference in running}
        load = Counter(map(self._ready.index, self._owners.values()))
        actor = self._ready[min(range(len(self._ready)), key=load.__getitem__)]
        reference = actor.call.remote(ray.put(batch))
        self._owners[reference] = actor
        return reference

    def _wait_for_start(self) -> None:
        """Take the processes that have started; wait for the first one."""
        import ray

        if not self._starting:
            return
        most, wait_s = (len(self._starting), 0.0) if self._ready else (1, self._settings.lost_after_s)
        started, _ = ray.wait(list(self._starting), num_returns=most, timeout=wait_s)
        for each in ray.get(started):
            _get_result(each)
        self._ready += [self._starting.pop(each) for each in started]
        if not self._ready:
            raise ServiceError(
                f"no process with {self._resources} started on the Ray cluster {self._settings.bulk_address} within "
                f"{wait_s:g} s; `ray status` lists its free resources: add a machine, or reserve less"
            )


class _BatchActor:
    """A worker, or the error of its building, which would look like the loss of a process if the actor raised it."""

    def __init__(self, build: Callable[[], BatchWorker]) -> None:
        self._worker: BatchWorker | None = None
        self._error: Exception | None = None
        try:
            self._worker = build()
        except Exception as error:  # noqa: BLE001 (the caller gets it from `check_ready`)
            self._error = error

    def check_ready(self) -> Any:
        """Return once the worker is built; a `_Failure` if it cannot be."""
        return _call(self._get_worker) if self._worker is None else None

    def call(self, batch: Any) -> Any:
        return _call(lambda: self._get_worker()(batch))

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def _get_worker(self) -> BatchWorker:
        if self._worker is None:
            raise self._error or RuntimeError("the worker is not built")
        return self._worker


@dataclass(frozen=True)
class _Failure:
    """An error of the function; Ray would add its own class and a traceback."""

    error: HablaError


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except HablaError as error:
        return _Failure(error)
    except Exception as error:
        if not _can_be_sent(error):
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


def _can_be_sent(error: Exception) -> bool:
    """Return whether Ray can build an error again from its arguments; otherwise it would report a lost process."""
    with suppress(Exception):
        copy.copy(error)
        return True
    return False


def _get_result(result: Any) -> Any:
    """Return the result; raise the error of a `_Failure`."""
    if isinstance(result, _Failure):
        raise result.error
    return result


def _map_in_order(
    submit: Callable[[Any, Mapping[Any, int]], Any], batches: Iterable[Any], n_workers: int, settings: RaySettings
) -> Iterator[Any]:
    """Yield the results in order; holds at most `_BATCHES_PER_WORKER` batches and results of each worker."""
    import ray

    running: dict[Any, int] = {}
    finished: dict[int, Any] = {}
    numbered, n_yielded = enumerate(batches), 0
    is_over = False
    while not is_over or running or finished:
        while not is_over and len(running) + len(finished) < _BATCHES_PER_WORKER * n_workers:
            if (following := next(numbered, None)) is None:
                is_over = True
                break
            with _explain_losses(settings):
                running[submit(following[1], running)] = following[0]
        if running and n_yielded not in finished:
            with _explain_losses(settings):
                done, _ = ray.wait(list(running), num_returns=1)
                finished.update((running.pop(each), ray.get(each)) for each in done)
        if n_yielded in finished:
            yield _get_result(finished.pop(n_yielded))
            n_yielded += 1


@contextmanager
def _explain_losses(settings: RaySettings) -> Iterator[None]:
    """Raise `ServiceError` in place of an error of Ray; an unexpected error of the function stays as it is."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError:
        raise
    except (ray.exceptions.RayError, OSError) as error:
        raise ServiceError(
            f"the Ray cluster {settings.bulk_address} lost the work ({_describe(error)}); its dashboard "
            f"{settings.address} names the cause. Run again: finished work is not repeated"
        ) from error


def _describe(error: Exception) -> str:
    """Return the class of an error of Ray, and the first and the last line of its message, which has the cause."""
    lines = _TERMINAL_CODES.sub("", str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' … '.join(dict.fromkeys((lines[0][:150], lines[-1].strip()[:150])))}"


@contextmanager
def _keep_sigterm_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM, which `ray.init` replaces in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
