"""The service in a process of its own, on a free port of this machine. Run as a module, it is that process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from habla_ml.errors import HablaError
from habla_ml.process import die_with_parent
from habla_ml.service.server import PROFILE_VARIABLE, open_listener, run_server
from habla_ml.settings import Settings, load_settings

_HOST = "127.0.0.1"
_MODULE = "habla_ml.demo.service_process"


@contextmanager
def run_service(settings: Settings, log: Path) -> Iterator[str]:
    """Run the service of a deployment until the block ends; yield its address. `log` gets what it writes.

    Raises:
        HablaError: It did not start.
    """
    environment = {**os.environ, PROFILE_VARIABLE: settings.profile_option}
    command = [sys.executable, "-m", _MODULE, str(os.getpid())]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        try:
            # It accepts connections from its first line on, and answers them once it is loaded.
            address = "" if process.stdout is None else process.stdout.readline().strip()
            if not address:
                raise HablaError(f"the service did not start; read {log}")
            yield address
        finally:
            process.terminate()


def main() -> None:
    """Serve the profile of the environment, and end with the process that is named."""
    die_with_parent(int(sys.argv[1]))
    settings = load_settings()
    with open_listener(_HOST, 0) as listener:
        print(f"http://{_HOST}:{listener.getsockname()[1]}", flush=True)
        run_server(settings, listener)


if __name__ == "__main__":
    main()
