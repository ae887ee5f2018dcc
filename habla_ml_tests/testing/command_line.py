"""The `habla-ml` command in the process of the test, or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from habla_ml.cli.context import error_terminal, terminal
from habla_ml.cli.main import main


def run_habla_ml(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, as a terminal of 300 columns does, with `environment` added.

    A process of its own would import the project again for each command: several seconds. `start_habla_ml` starts one.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in {"COLUMNS": "300", **environment}.items():
            patch.setenv(name, value)
        for each in (terminal, error_terminal):  # keep the width of COLUMNS at their import, if it was set
            patch.setattr(each, "_width", None)
        patch.setattr(sys, "argv", ["habla-ml", *arguments])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(["habla-ml", *arguments], code, out.getvalue(), err.getvalue())


def start_habla_ml(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own, with `environment` added to this process's."""
    return subprocess.run(
        [Path(sys.executable).with_name("habla-ml"), *arguments],
        env={**os.environ, "COLUMNS": "300", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class CommandResult:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class CommandInProcess:
    """The `habla-ml` command on one profile in the process of the test, with its own handling of errors."""

    def __init__(self, profile: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._profile, self._capsys, self._monkeypatch = profile, capsys, monkeypatch
        self.everything = ""
        """All that was printed so far."""

    def run(self, *arguments: str) -> CommandResult:
        self._monkeypatch.setattr(sys, "argv", ["habla-ml", *arguments, "--profile", str(self._profile)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        self.everything += printed.out + printed.err
        return CommandResult(int(ended.value.code or 0), printed.out, printed.err)
