"""`habla-ml serve` in a process of its own, as a person starts it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from habla_ml.service.server import open_listener
from habla_ml_tests.testing.deployment_settings import write_settings

_SERVE = "from habla_ml.service import server; from habla_ml.cli.main import main\n"


class ServeProcess:
    """The server of a new deployment below a folder.

    `service` has its settings but the port, `sections` other sections. `head_timeout_s` replaces a limit that no setting
    has.
    """

    def __init__(
        self, folder: Path, service: Mapping[str, Any] | None = None, head_timeout_s: float = 20.0, **sections: Any
    ) -> None:
        with open_listener("127.0.0.1", 0) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = write_settings(folder, service={**(service or {}), "port": self.port}, **sections)
        self.log = folder / "log"
        program = f"{_SERVE}server._HEAD_TIMEOUT_S = {head_timeout_s}\nmain()"
        command = [sys.executable, "-c", program, "serve", "-p", str(folder / "configs" / "here.yaml")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            self.get("/healthz")
        except BaseException:
            self.process.terminate()
            raise

    def get(self, path: str) -> httpx.Response:
        """Return the answer; each request has a connection of its own, so that all workers get some."""
        for _ in range(300):
            try:
                return httpx.get(f"{self.url}{path}", timeout=20)
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> tuple[int, str]:
        """End the server as a supervisor does; return its exit status and standard output."""
        self.process.send_signal(signal.SIGTERM)
        output = self.process.communicate(timeout=40)[0].decode()
        return self.process.returncode, output
