"""`habla-ml dev` runs Dagster and the service, and neither outlives the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from habla_ml_tests.testing.command_line import CommandInProcess
from habla_ml_tests.testing.deployment_settings import write_settings

PROGRAM = "import os, pathlib, time; pathlib.Path({path!r}).write_text(str(os.getpid())); time.sleep(60)"
SUPERVISOR = (
    "import sys, pathlib, habla_ml.process as p; sys.exit(p.run_until_one_ends({commands!r}, pathlib.Path({folder!r})))"
)
NAMES = ("dagster", "service")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def together(tmp_path: Path) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """The supervisor, and the process ids of two programs."""
    paths = {name: tmp_path / name for name in NAMES}
    commands = [[sys.executable, "-c", PROGRAM.format(path=str(path))] for path in paths.values()]
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR.format(commands=commands, folder=str(tmp_path))])
    wait_until(lambda: all(each.exists() and each.read_text() for each in paths.values()), "a program did not start")
    return process, {name: int(path.read_text()) for name, path in paths.items()}


@pytest.mark.parametrize(("first", "other"), [NAMES, NAMES[::-1]])
def test_when_one_ends_the_other_ends_too(
    together: tuple[subprocess.Popen[bytes], dict[str, int]], first: str, other: str
) -> None:
    process, pids = together
    os.kill(pids[first], signal.SIGTERM)
    assert process.wait(30) != 0
    assert not is_running(pids[other])


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_ends_both(
    together: tuple[subprocess.Popen[bytes], dict[str, int]], request_to_end: signal.Signals
) -> None:
    process, pids = together
    process.send_signal(request_to_end)
    assert process.wait(30) == 0
    assert not any(is_running(each) for each in pids.values())


def test_they_end_with_a_supervisor_that_is_killed(
    together: tuple[subprocess.Popen[bytes], dict[str, int]],
) -> None:
    process, pids = together
    process.kill()
    process.wait(30)
    wait_until(lambda: not any(is_running(each) for each in pids.values()), "a program outlived its supervisor")


def test_the_output_of_both_goes_to_one_file(tmp_path: Path) -> None:
    log = tmp_path / "dev.log"
    log.write_text("of the last start")
    commands = [[sys.executable, "-c", "print('pages')"], [sys.executable, "-c", "import time; time.sleep(60)"]]
    supervisor = "import pathlib, habla_ml.process as p; p.run_until_one_ends({!r}, pathlib.Path(), pathlib.Path({!r}))"
    program = supervisor.format(commands, str(log))
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (found.stdout, log.read_text().splitlines()[0]) == (b"", "pages")


def test_a_port_in_use_is_refused_because_dagster_would_take_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(tmp_path)
    command = CommandInProcess(tmp_path / "configs/here.yaml", capsys, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = command.run("dev", "--ui-port", str(port))
    assert refused.code == 1
    assert f"port {port} of 127.0.0.1 cannot be used: Address already in use" in " ".join(refused.err.split())
    assert "--ui-port" in refused.err
