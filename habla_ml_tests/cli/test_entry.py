"""The command on an operating system without POSIX, imitated in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSIX_ONLY = ("fcntl", "resource", "termios", "pwd", "grp")
WITHOUT_POSIX = f"""
import sys

class NoPosix:
    def find_spec(self, name, path=None, target=None):
        if name in {POSIX_ONLY}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {POSIX_ONLY}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, NoPosix())
sys.argv = ["habla-ml", *sys.argv[1:]]
"""


AS_WIN32 = "sys.platform = 'win32'\n"


def run_without_posix(code: str, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + WITHOUT_POSIX + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize("arguments", [["doctor"], ["status", "--json"], ["--help"], []])
def test_every_command_on_windows_prints_one_error_that_names_wsl_and_the_page(arguments):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, _, function = scripts["habla-ml"].partition(":")
    done = run_without_posix(AS_WIN32 + f"from {module} import {function} as main; main()", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "WSL" in done.stderr
    assert "docs/operate.md" in done.stderr
    page = (ROOT / "docs" / "operate.md").read_text("utf-8")
    assert "## Windows" in page
    assert "/mnt/c" in page


@pytest.mark.long
def test_the_code_location_fails_with_the_same_message():
    # Dagster itself cannot be imported here under the name of another platform.
    done = run_without_posix(AS_WIN32 + "import habla_ml.definitions", before="import dagster\n")
    assert done.returncode != 0
    assert "WSL" in done.stderr.splitlines()[-1]
    assert "No module named" not in done.stderr
