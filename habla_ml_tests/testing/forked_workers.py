"""Real uvicorn servers in forked processes that share one socket; a killed one is replaced at once.

It is what `uvicorn --workers` does, without the seconds that a new Python takes. A process of its own forks them, since
neither pytest nor a client with threads may. Run as a module, it is that process.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml.settings import load_settings

_START_S = 60.0
_PROJECT = Path(__file__).resolve().parents[2]
"""The tests are found from here, wherever a test has its own folder."""
_SERVICE = "habla_ml_tests.testing.forked_workers:make_service"


class ForkedWorkers:
    """A server with several workers behind one port of this machine; ends with its `with` block.

    `application` names a function from the folder of a deployment to an ASGI application; without it, it is the service.
    """

    def __init__(self, folder: Path, workers: int = 2, application: str = _SERVICE) -> None:
        self._state = folder / f"workers-{time.monotonic_ns()}"
        self._state.mkdir()
        command = [
            sys.executable,
            "-m",
            __name__,
            *map(str, (folder.resolve(), self._state.resolve(), workers)),
            application,
        ]
        with (self._state / "log").open("ab") as log:
            self._parent = subprocess.Popen(command, stdout=log, stderr=log, cwd=_PROJECT)
        self.port = int(self._wait_for("port"))

    def __enter__(self) -> ForkedWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.terminate()
        self._parent.wait(10)

    def list_workers(self) -> list[int]:
        """Return the process ids of the present workers."""
        return [int(each.name) for each in (self._state / "pids").iterdir()]

    def kill(self, worker: int) -> None:
        """Kill a worker, and wait until its place is taken."""
        os.kill(worker, signal.SIGKILL)
        while worker in self.list_workers():
            time.sleep(0.001)

    def measure_memory(self) -> int:
        """Return the resident memory of the workers in bytes."""
        pids = ",".join(map(str, self.list_workers()))
        sizes = subprocess.run(["ps", "-o", "rss=", "-p", pids], check=True, capture_output=True, text=True).stdout
        return sum(map(int, sizes.split())) * 1024

    def read_log(self) -> str:
        """Return what the processes printed."""
        return (self._state / "log").read_text()

    def _wait_for(self, name: str) -> str:
        deadline = time.monotonic() + _START_S
        while not (self._state / name).exists():
            if self._parent.poll() is not None or time.monotonic() > deadline:
                self._parent.kill()
                raise AssertionError(f"the server did not start: {self.read_log()}")
            time.sleep(0.01)
        return (self._state / name).read_text()


def make_service(folder: Path) -> Any:
    """Return the service of a deployment."""
    return create_app(ServiceState(load_settings(folder / "configs" / "here.yaml", {})))


def _run(folder: Path, state: Path, workers: int, make_application: Callable[[Path], Any]) -> None:
    pids = state / "pids"
    pids.mkdir()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for _ in range(workers):
            _fork_worker(folder, pids, listener, make_application)
        unfinished = state / "port.unfinished"
        unfinished.write_text(str(listener.getsockname()[1]))
        unfinished.rename(state / "port")
        while True:
            ended, _ = os.wait()
            _fork_worker(folder, pids, listener, make_application)
            (pids / str(ended)).unlink()
    finally:
        for each in pids.iterdir():
            os.kill(int(each.name), signal.SIGKILL)


def _fork_worker(folder: Path, pids: Path, listener: socket.socket, make_application: Callable[[Path], Any]) -> None:
    pid = os.fork()
    if pid:
        (pids / str(pid)).touch()
        return
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        config = uvicorn.Config(make_application(folder), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        os._exit(1)


if __name__ == "__main__":
    _module, _, _name = sys.argv[4].partition(":")
    _factory = make_service if sys.argv[4] == _SERVICE else getattr(importlib.import_module(_module), _name)
    _run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), _factory)
