"""Virtual environments for packages that conflict with those of habla_ml, created when first needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from habla_ml.errors import ServiceError

_READY_MARKER: Final = ".ready"


def sibling_environment(name: str) -> Path:
    """Return the folder of the environment with this name: `.venv-<name>` next to the running one."""
    return Path(sys.prefix).parent / f".venv-{name}"


def is_installed(environment: Path) -> bool:
    """Return whether the installation was completed."""
    return (environment / _READY_MARKER).exists()


def install_environment(environment: Path, requirements: Sequence[str], pins: str, log: Callable[[str], None]) -> None:
    """Create the environment and install the requirements, unless this is done already.

    Args:
        environment: The folder of the environment.
        requirements: Requirements for pip.
        pins: Name of a constraints file next to the environment; without the file the newest versions are installed.
        log: Receives a line before the installation.

    Raises:
        ServiceError: A command failed; the message has its last output.
    """
    if is_installed(environment):
        return
    log(f"installing {', '.join(requirements)} into {environment}")
    file = environment.parent / pins
    constraint = ["--constraint", str(file)] if file.is_file() else []
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(environment / "bin" / "pip"), "install", "--quiet", *constraint, *requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(command)} failed: {done.stderr[-500:]}; fix the cause and run again")
    (environment / _READY_MARKER).touch()
