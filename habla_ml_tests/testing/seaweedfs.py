"""The S3 store of `deploy/compose.yaml`, with the options of that file, from its package: it asks for a key."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from habla_ml_tests.testing.deploy_files import DEPLOY, S3_PORT, read_document
from habla_ml_tests.testing.s3_clients import CREDENTIALS

PROGRAM: Final = Path(sys.executable).with_name("weed")
REGION: Final = "us-east-1"
_START_S: Final = 60.0
_HIGHEST_PORT: Final = 55_000
"""The gRPC partner of each port is 10,000 above it."""


@dataclass(frozen=True)
class SeaweedServer:
    """A running server."""

    endpoint: str
    pid: int


@contextmanager
def serve_seaweedfs(folder: Path) -> Iterator[SeaweedServer]:
    """Run the server with its files in a folder until the block ends; it accepts the key of `CREDENTIALS` only."""
    service = read_document(DEPLOY / "compose.yaml")["services"]["s3"]
    port, master, volume, filer = _find_free_ports(4)
    words = [each.replace("-dir=/data", f"-dir={folder}") for each in service["command"]]
    words = [f"-s3.port={port}" if each == f"-s3.port={S3_PORT}" else each for each in words]
    # In the container, these three have their usual ports.
    words += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    with (folder / "log").open("wb") as file:
        process = subprocess.Popen([PROGRAM, *words], env={**os.environ, **CREDENTIALS}, stdout=file, stderr=file)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", folder / "log")
        yield SeaweedServer(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.kill()  # after SIGTERM it waits 25 s for its parts
        process.wait()
        # It keeps its sockets in this folder, whatever TMPDIR is.
        used = {str(each + partner) for each in (port, master, volume, filer) for partner in (0, 10_000)}
        for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108
            if path.stem.rpartition("-")[2] in used:
                path.unlink()


def _wait_until_ready(endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            if httpx.get(f"{endpoint}/healthz").is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)


def _find_free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        if port < _HIGHEST_PORT and port not in found:
            found.append(port)
    return found
