"""The processes of one host, with the commands and the variables of the units in `deploy/systemd`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from habla_ml_tests.testing.deploy_files import INSTALLED, ROOT, SYSTEMD, read_unit_values, read_variables

_START_S: Final = 120.0
_SHOWN_CHARS: Final = 3000
# The shell ends the process and its children when its standard input ends, so also when the tests are killed.
_UNTIL_INPUT_ENDS: Final = '"$@" </dev/null & read -r _; kill -9 0'


class DeployedHost:
    """A host whose files are in a folder; the profile is `configs/production.yaml`. End it with `stop`.

    Args:
        folder: Has `configs` and `dagster_home`; the logs of the units go there.
        secrets: Values of the variables in the environment files of the units. Each unit gets its own only.
        variables: More variables of all units.
        replaced: Words of the commands to replace, such as ports that are taken on this machine.
    """

    def __init__(
        self, folder: Path, secrets: Mapping[str, str], variables: Mapping[str, str], replaced: Mapping[str, str]
    ) -> None:
        self._folder, self._secrets, self._replaced = folder, secrets, replaced
        self._variables = {
            **variables,
            # A command of the docs names `dagster` alone, as in a shell with the environment activated.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DAGSTER_HOME": str(folder / "dagster_home"),
            "HABLA_CONFIGS": str(folder / "configs"),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, unit: str = "", command: Sequence[str] = (), port: int | None = None) -> None:
        """Start a unit and wait until it listens on `port`.

        Args:
            name: Of the process.
            unit: Its file without the suffix; default: the name.
            command: Other words than those of the unit.
            port: Of this host.
        """
        path = SYSTEMD / f"{unit or name}.service"
        environment = self._read_environment(path)
        for each in read_unit_values(path, "ExecStartPre"):
            subprocess.run(self._localise(each.split()), env=environment, cwd=ROOT, check=True)
        [started] = read_unit_values(path, "ExecStart")
        words = self._localise(command or started.split())
        with self._find_log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )
        if port is not None:
            self._wait_for_port(name, port)

    def stop(self) -> None:
        """Kill all processes."""
        for process in self._processes.values():
            process.communicate()
        self._processes.clear()

    def read_logs(self) -> str:
        """Return the end of what each process printed."""
        names = [each for each in self._processes if self._find_log(each).exists()]
        return "".join(f"== {each}\n{self._find_log(each).read_text()[-_SHOWN_CHARS:]}\n" for each in names)

    def _read_environment(self, unit: Path) -> dict[str, str]:
        given = dict(each.split("=", 1) for each in read_unit_values(unit, "Environment"))
        for each in read_unit_values(unit, "EnvironmentFile"):
            names = read_variables(SYSTEMD / f"{Path(each).name}.example")
            given |= {name: self._secrets[name] for name in names}
        return _copy_environment() | given | self._variables

    def _localise(self, words: Sequence[str]) -> list[str]:
        programs = f"{Path(sys.executable).parent}/"
        return [self._replaced.get(each, each.replace(INSTALLED, programs)) for each in words]

    def _find_log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _wait_for_port(self, name: str, port: int) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                assert time.monotonic() < deadline, f"{name} does not listen on port {port}\n{self.read_logs()}"
                time.sleep(0.2)
            else:
                return


def _copy_environment() -> dict[str, str]:
    """Return the variables of this process without the settings and secrets of a deployment."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DAGSTER_", "HABLA_"))}
