"""Virtual environments for packages that contradict ours, made at the first need beside our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from habla_ml.errors import ServiceError

_READY_MARKER: Final = ".ready"


def sibling_environment(name: str) -> Path:
    """Where the environment of this name is, or would be: `.venv-<name>` beside the one that runs us."""
    return Path(sys.prefix).parent / f".venv-{name}"


def is_installed(environment: Path) -> bool:
    """Whether its installation went through."""
    return (environment / _READY_MARKER).exists()


def install_environment(
    environment: Path, requirements: Sequence[str], pins: str, log: Callable[[str], None]
) -> None:
    """Make the environment where it is missing, and install into it.

    Args:
        environment: Its folder.
        requirements: As pip takes them.
        pins: A file of constraints beside the environment; without it the newest that fit are installed.
        log: Told one line before it starts.

    Raises:
        ServiceError: pip failed; its last lines are in the message.
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
            raise ServiceError(f"{' '.join(command)} failed: {done.stderr[-500:]}; mend that, then run again")
    (environment / _READY_MARKER).touch()
