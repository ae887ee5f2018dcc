"""A Ray cluster of real processes on this machine: a head without CPUs and two machines with one CPU each.

Each node is a session of its own, so that a test can kill all its processes at once, as a lost machine does. The nodes
end with the process that started them, also a killed one.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
N_WORKER_NODES: Final = 2
_START_S: Final = 180.0
_OBJECT_STORE_BYTES: Final = 80_000_000
_LOG_CHARS: Final = 1000
_RECONNECT_S: Final = 5
"""After this time without its head a node ends; Ray's default is a minute."""
_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": str(_RECONNECT_S),
    "RAY_prestart_worker_first_driver": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # or processes for clients crash now and then at their start
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": str(ROOT),
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
# The shell ends the node and its processes when its standard input ends, so also when the tests are killed.
_UNTIL_INPUT_ENDS: Final = '"$@" </dev/null & read -r _; kill -9 0'


class RayCluster:
    """A cluster; start it with `start_missing_nodes` and end it with `stop`.

    `environment` has more variables of its processes, such as keys of a store.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**_ENVIRONMENT, **environment}
        self._folder = Path(tempfile.mkdtemp(prefix="ray_", dir="/tmp"))  # the paths of sockets are short
        self._port, self._dashboard_port, self._agent_port, self._client_port = find_free_ports(4)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """The address of the Jobs API."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def client_address(self) -> str:
        """The address for clients."""
        return f"ray://127.0.0.1:{self._client_port}"

    def start_missing_nodes(self) -> None:
        """Start the head and the other nodes unless they run, and wait until the cluster has all of them."""
        self._start("head", *self._list_head_options())
        self._wait("the head", lambda: self._request("/api/version") is not None)
        for number in range(1, N_WORKER_NODES + 1):  # in turn: two nodes that start at once on a machine can block
            self._start(f"node-{number}", "--address", f"127.0.0.1:{self._port}", "--num-cpus", "1")
            self._wait(f"node {number}", lambda wanted=1 + number: self._count_alive_nodes() >= wanted)

    def kill_node(self, name: str) -> None:
        """Kill all processes of a node."""
        node = self._nodes.pop(name)
        for process in list_session(node.pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.communicate()

    def kill_head(self) -> None:
        """Kill all processes of the head, and wait until the other nodes have ended for lack of it."""
        self.kill_node("head")
        self._wait("the other nodes to end", lambda: not self.find_processes("raylet"))
        for name in list(self._nodes):
            self.kill_node(name)

    def find_processes(self, *words: str) -> list[psutil.Process]:
        """Return the cluster's processes whose command line has all these words."""
        found = []
        for node in self._nodes.values():
            for process in list_session(node.pid):
                try:
                    line = " ".join(process.cmdline())
                except psutil.NoSuchProcess:
                    continue
                if all(word in line for word in words):
                    found.append(process)
        return found

    def stop(self) -> None:
        """End all nodes and remove their files."""
        for name in list(self._nodes):
            self.kill_node(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def read_logs(self) -> str:
        """Return the end of what each node printed."""
        logs = sorted(self._folder.glob("*.log"))
        return "".join(f"== {log.name}\n{log.read_text('utf-8')[-_LOG_CHARS:]}\n" for log in logs)

    def _list_head_options(self) -> list[str]:
        options: dict[str, Any] = {
            "--port": self._port,
            "--dashboard-port": self._dashboard_port,
            "--dashboard-agent-listen-port": self._agent_port,
            "--ray-client-server-port": self._client_port,
            "--include-dashboard": "true",
            "--num-cpus": 0,
        }
        return ["--head", *(str(word) for option in options.items() for word in option)]

    def _start(self, name: str, *options: str) -> None:
        if name in self._nodes:
            return
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        ray += ["--node-ip-address", "127.0.0.1", "--include-log-monitor", "false"]
        ray += ["--object-store-memory", str(_OBJECT_STORE_BYTES), "--temp-dir", str(self._folder / name), *options]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._nodes[name] = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", *ray],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def _count_alive_nodes(self) -> int:
        found = self._request("/nodes?view=summary")
        nodes = [] if found is None else found["data"]["summary"]
        return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)

    def _request(self, path: str) -> Any:
        try:
            return httpx.get(f"{self.address}{path}", timeout=5.0).raise_for_status().json()
        except httpx.HTTPError:
            return None

    def _wait(self, what: str, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not is_done():
            assert time.monotonic() < deadline, f"waited {_START_S:g} s for {what}\n{self.read_logs()}"
            time.sleep(0.2)


def list_session(leader: int) -> list[psutil.Process]:
    """Return the running processes of a session and their descendants: the programs of jobs have their own sessions."""
    children: dict[int, list[psutil.Process]] = {}
    waiting: list[psutil.Process] = []
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
        with suppress(ProcessLookupError):
            waiting += [process] if os.getsid(process.pid) == leader else []
    found: dict[int, psutil.Process] = {}
    while waiting:
        process = waiting.pop()
        if process.pid not in found:
            found[process.pid] = process
            waiting += children.get(process.pid, [])
    return list(found.values())


def find_free_ports(count: int) -> list[int]:
    """Return ports that no process listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
