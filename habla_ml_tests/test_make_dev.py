"""`make dev` runs Dagster and the service, and neither outlives the other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from habla_ml_tests.testing.deployment_settings import PROJECT

PROGRAM = "#!/bin/sh\necho $$ > {folder}/{name}.new && mv {folder}/{name}.new {folder}/{name}.pid\nexec sleep 60\n"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.05)


def _heed_signals() -> None:
    """Start as in a terminal: a shell ignores Ctrl-C in the background, and Dagster in a test then ignores SIGTERM too."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[dict[str, int]]:
    for name in ("habla-ml", "dg"):
        (tmp_path / name).write_text(PROGRAM.format(folder=tmp_path, name=name))
    (tmp_path / "python").write_text("#!/bin/sh\n")
    for name in ("habla-ml", "dg", "python"):
        (tmp_path / name).chmod(0o755)
    variables = [f"BIN={tmp_path}", f"READY={tmp_path / 'dg'}", f"DAGSTER_HOME={tmp_path / 'home'}"]
    command = ["make", "dev", "-o", str(tmp_path / "dg"), *variables]
    process = subprocess.Popen(command, cwd=PROJECT, preexec_fn=_heed_signals)
    found = {}
    deadline = time.monotonic() + 10
    for name in ("habla-ml", "dg"):
        while not (tmp_path / f"{name}.pid").exists():
            assert time.monotonic() < deadline, f"{name} did not start"
            time.sleep(0.02)
        found[name] = int((tmp_path / f"{name}.pid").read_text())
    yield found
    process.wait(10)


@pytest.mark.parametrize(("first", "other"), [("dg", "habla-ml"), ("habla-ml", "dg")])
def test_when_one_ends_the_other_ends_too(started: dict[str, int], first: str, other: str) -> None:
    assert is_running(started[other])
    os.kill(started[first], signal.SIGTERM)
    wait_until_ended(started[other])
